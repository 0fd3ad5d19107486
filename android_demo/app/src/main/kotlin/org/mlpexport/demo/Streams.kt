package org.mlpexport.demo

import java.io.ByteArrayOutputStream
import java.io.InputStream

/** The first [limit] bytes of the stream, or all. InputStream.readNBytes does not exist before Android 13. */
internal fun InputStream.readAtMost(limit: Int): ByteArray {
    val out = ByteArrayOutputStream()
    val buffer = ByteArray(minOf(limit, 1 shl 16))
    while (out.size() < limit) {
        val n = read(buffer, 0, minOf(buffer.size, limit - out.size()))
        if (n < 0) break
        out.write(buffer, 0, n)
    }
    return out.toByteArray()
}
