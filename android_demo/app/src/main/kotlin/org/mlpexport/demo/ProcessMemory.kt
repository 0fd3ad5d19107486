package org.mlpexport.demo

import java.io.File
import java.io.IOException

private val RESIDENT = Regex("""VmRSS:\s*(\d+) kB""")

/** The process's resident bytes, 0 where the kernel does not tell. */
fun residentBytes(): Long = try {
    RESIDENT.find(File("/proc/self/status").readText())?.let { it.groupValues[1].toLong() * 1024 } ?: 0
} catch (_: IOException) {
    0
}
