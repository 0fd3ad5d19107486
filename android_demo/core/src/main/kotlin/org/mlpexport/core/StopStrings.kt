package org.mlpexport.core

/** Holds back text that may be the beginning of a stop string, and cuts at the first one that is complete. */
class StopStrings(stop: List<String>) {
    private val stop = stop.filter { it.isNotEmpty() }
    private var held = ""

    /** Whether a stop string was complete: nothing more is visible. */
    var found = false
        private set

    /** The text that is certain once [piece] is there. */
    fun push(piece: String): String {
        if (found) return ""
        val text = held + piece
        val cut = stop.map { text.indexOf(it) }.filter { it >= 0 }.minOrNull()
        if (cut != null) {
            found = true
            held = ""
            return text.substring(0, cut)
        }
        val certain = text.length - (stop.maxOfOrNull { overlap(text, it) } ?: 0)
        held = text.substring(certain)
        return text.substring(0, certain)
    }

    /** What is held back, when no more text comes. */
    fun flush(): String = held.also { held = "" }
}

/** Length of the longest end of [text] that is a beginning of [stop] and not all of it. */
private fun overlap(text: String, stop: String): Int {
    val longest = minOf(text.length, stop.length - 1)
    return (longest downTo 1).firstOrNull { text.regionMatches(text.length - it, stop, 0, it) } ?: 0
}
