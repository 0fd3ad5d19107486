// Stand-in of what the app takes of the kernel: module Darwin, and os for os_proc_available_memory.
public typealias kern_return_t = Int32
public typealias natural_t = UInt32
public typealias integer_t = Int32
public typealias mach_port_t = natural_t
public typealias thread_act_t = mach_port_t
public typealias thread_act_array_t = UnsafeMutablePointer<thread_act_t>
public typealias mach_msg_type_number_t = natural_t
public typealias task_flavor_t = natural_t
public typealias vm_size_t = UInt
public typealias vm_address_t = UInt

public let KERN_SUCCESS: kern_return_t = 0
public let MACH_TASK_BASIC_INFO: Int32 = 20
public let mach_task_self_: mach_port_t = 0

public struct mach_task_basic_info {
  public var virtual_size: UInt64 = 0
  public var resident_size: UInt64 = 0
  public var resident_size_max: UInt64 = 0
  public init() {}
}

public func task_info(
  _ target_task: mach_port_t, _ flavor: task_flavor_t, _ task_info_out: UnsafeMutablePointer<integer_t>,
  _ task_info_outCnt: UnsafeMutablePointer<mach_msg_type_number_t>
) -> kern_return_t { 5 }

public func task_threads(
  _ target_task: mach_port_t, _ act_list: UnsafeMutablePointer<thread_act_array_t?>,
  _ act_listCnt: UnsafeMutablePointer<mach_msg_type_number_t>
) -> kern_return_t { 5 }

@discardableResult
public func mach_port_deallocate(_ task: mach_port_t, _ name: mach_port_t) -> kern_return_t { KERN_SUCCESS }

@discardableResult
public func vm_deallocate(_ target_task: mach_port_t, _ address: vm_address_t, _ size: vm_size_t) -> kern_return_t {
  KERN_SUCCESS
}

public func os_proc_available_memory() -> Int { 0 }
