package org.mlpexport.demo

import android.system.Os
import android.system.OsConstants
import java.io.File
import java.io.IOException

/** The process's resident bytes, 0 where the kernel does not tell. */
fun residentBytes(): Long = try {
    val pages = File("/proc/self/statm").readText().split(' ').getOrNull(1)?.toLongOrNull() ?: 0
    pages * Os.sysconf(OsConstants._SC_PAGESIZE)
} catch (_: IOException) {
    0
}
