// Stand-in, see below.
import Foundation
