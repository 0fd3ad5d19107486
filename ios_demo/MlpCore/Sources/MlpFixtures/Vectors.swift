import MlpCore
