package org.mlpexport.core

import com.google.gson.JsonElement
import com.google.gson.JsonNull
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import com.google.gson.Strictness
import com.google.gson.stream.JsonReader
import com.google.gson.stream.JsonToken
import java.io.Reader

/** What a `tokenizer.json` says, read as a stream: vocabulary and merges never are a tree of objects. */
internal class TokenizerFile {
    var added: List<AddedToken> = emptyList()
        private set
    var normalizer: JsonElement = JsonNull.INSTANCE
        private set
    var preTokenizer: JsonElement = JsonNull.INSTANCE
        private set

    /** The keys of `model` but vocabulary and merges. */
    val model = JsonObject()
    val vocabulary = Vocabulary()
    val merges = Merges()

    /** Throws IOException for what is no JSON, [UnknownTokenizerException], and what Gson throws for other values. */
    fun read(source: Reader) {
        val reader = JsonReader(source)
        reader.strictness = Strictness.STRICT
        reader.eachKey { key ->
            when (key) {
                "added_tokens" -> added = reader.readTree().asJsonArray.map { AddedToken.of(it.asJsonObject) }
                "normalizer" -> normalizer = reader.readTree()
                "pre_tokenizer" -> preTokenizer = reader.readTree()
                "model" -> reader.readModel()
                else -> reader.skipValue()
            }
        }
    }

    private fun JsonReader.readModel() {
        var waiting: List<Pair<String, String>> = emptyList()
        eachKey { key ->
            when (key) {
                "vocab" -> readVocabulary()
                // Merges are ids here, so they wait where the vocabulary comes after them.
                "merges" -> if (vocabulary.size > 0) readMerges(::addMerge) else waiting = readMerges()
                else -> model.add(key, readTree())
            }
        }
        for ((left, right) in waiting) addMerge(left, right)
    }

    private fun JsonReader.readVocabulary() {
        if (peek() != JsonToken.BEGIN_OBJECT) throw UnknownTokenizerException("the vocabulary is no object")
        eachKey { token -> vocabulary.put(token, nextInt()) }
    }

    private fun JsonReader.readMerges(): List<Pair<String, String>> {
        val all = ArrayList<Pair<String, String>>()
        readMerges { left, right -> all += left to right }
        return all
    }

    /** Merges are pairs, or in older files texts with a space between the two. */
    private fun JsonReader.readMerges(add: (String, String) -> Unit) {
        beginArray()
        while (hasNext()) {
            if (peek() == JsonToken.BEGIN_ARRAY) {
                beginArray()
                add(nextString(), nextString())
                endArray()
            } else {
                val merge = nextString()
                add(merge.substringBefore(' '), merge.substringAfter(' '))
            }
        }
        endArray()
    }

    private fun addMerge(left: String, right: String) {
        val (first, second) = vocabulary.id(left) to vocabulary.id(right)
        val merged = vocabulary.id(left + right)
        if (minOf(first, second, merged) < 0) {
            throw UnknownTokenizerException("merge $left $right is not in the vocabulary")
        }
        merges.add(first, second, merged)
    }
}

private fun JsonReader.readTree(): JsonElement = JsonParser.parseReader(this)

private inline fun JsonReader.eachKey(read: (String) -> Unit) {
    beginObject()
    while (hasNext()) read(nextName())
    endObject()
}

/** Spelling of a token -> its id, in three arrays: a map of strings would take ten times the memory of 200k tokens. */
internal class Vocabulary {
    private var bytes = ByteArray(1 shl 16)
    private var ends = IntArray(1 shl 12) // of token n in `bytes`
    private var ids = IntArray(1 shl 12)
    private var table = IntArray(1 shl 13) // n + 1 by hash, 0: free

    var size = 0
        private set

    fun put(token: String, id: Int) {
        val spelling = token.toByteArray()
        val slot = slot(spelling)
        if (table[slot] != 0) {
            ids[table[slot] - 1] = id
            return
        }
        val start = if (size == 0) 0 else ends[size - 1]
        if (start + spelling.size > bytes.size) bytes = bytes.copyOf(maxOf(bytes.size * 2, start + spelling.size))
        if (size == ends.size) {
            ends = ends.copyOf(size * 2)
            ids = ids.copyOf(size * 2)
        }
        spelling.copyInto(bytes, start)
        ends[size] = start + spelling.size
        ids[size] = id
        table[slot] = ++size
        if (size * 2 > table.size) grow()
    }

    /** -1 where there is no such token. */
    fun id(token: String): Int {
        val found = table[slot(token.toByteArray())]
        return if (found == 0) -1 else ids[found - 1]
    }

    private fun slot(spelling: ByteArray): Int {
        var slot = spread(spelling.contentHashCode()) and (table.size - 1)
        while (table[slot] != 0 && !isAt(table[slot] - 1, spelling)) slot = (slot + 1) and (table.size - 1)
        return slot
    }

    private fun isAt(index: Int, spelling: ByteArray): Boolean {
        val start = if (index == 0) 0 else ends[index - 1]
        if (ends[index] - start != spelling.size) return false
        return spelling.indices.all { bytes[start + it] == spelling[it] }
    }

    private fun grow() {
        table = IntArray(table.size * 2)
        for (index in 0 until size) {
            table[slot(bytes.copyOfRange(if (index == 0) 0 else ends[index - 1], ends[index]))] = index + 1
        }
    }
}

/** Pair of ids -> its rank and the id of both merged. */
internal class Merges {
    private var keys = LongArray(1 shl 13) { FREE }
    private var ranks = IntArray(keys.size)
    private var merged = IntArray(keys.size)
    private var count = 0
    private var next = 0

    /** Adds the merge of the next rank. Of the same pair, the last one counts. */
    fun add(left: Int, right: Int, result: Int) {
        val slot = slot(key(left, right))
        if (keys[slot] == FREE) count++
        keys[slot] = key(left, right)
        ranks[slot] = next++
        merged[slot] = result
        if (count * 2 > keys.size) grow()
    }

    /** A number for [rank] and [result], or -1 where the two do not merge. */
    fun find(left: Int, right: Int): Int {
        val slot = slot(key(left, right))
        return if (keys[slot] == FREE) -1 else slot
    }

    fun rank(found: Int) = ranks[found]

    fun result(found: Int) = merged[found]

    private fun key(left: Int, right: Int) = (left.toLong() shl 32) or right.toLong()

    private fun slot(key: Long): Int {
        var slot = spread(key.hashCode() * 31 + (key shr 32).toInt()) and (keys.size - 1)
        while (keys[slot] != FREE && keys[slot] != key) slot = (slot + 1) and (keys.size - 1)
        return slot
    }

    private fun grow() {
        val (oldKeys, oldRanks, oldMerged) = Triple(keys, ranks, merged)
        keys = LongArray(oldKeys.size * 2) { FREE }
        ranks = IntArray(keys.size)
        merged = IntArray(keys.size)
        for (old in oldKeys.indices) {
            if (oldKeys[old] == FREE) continue
            val slot = slot(oldKeys[old])
            keys[slot] = oldKeys[old]
            ranks[slot] = oldRanks[old]
            merged[slot] = oldMerged[old]
        }
    }

    private companion object {
        const val FREE = -1L
    }
}

/** Spreads a hash over the low bits, which are all that a table of a power of two uses. */
private fun spread(hash: Int): Int {
    val mixed = hash * -0x61c88647
    return mixed xor (mixed ushr 15)
}
