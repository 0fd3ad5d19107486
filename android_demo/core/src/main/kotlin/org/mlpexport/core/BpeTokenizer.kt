package org.mlpexport.core

import java.util.PriorityQueue

/**
 * Hugging Face's `tokenizers` for byte-pair encoding, byte-level or with SentencePiece's alphabet: the same ids.
 * Throws [UnknownTokenizerException] for a file that says something else.
 */
internal class BpeTokenizer(file: TokenizerFile) : Tokenizer {
    override val inexactBecause: String? = null

    private val model = BpeModel(file)
    private val normalize = normalizer(file.normalizer)
    private val preTokenizer = PreTokenizer.of(file.preTokenizer)
    private val changesText = !file.normalizer.isJsonNull

    private val all = AddedTokens(file.added)
    private val beforeNormalizing = AddedTokens(file.added.filter { !it.normalized })
    private val afterNormalizing =
        AddedTokens(file.added.filter { it.normalized }.map { it.copy(content = normalize(it.content)) })

    override fun count(text: String) = TokenCount(encode(text).size, true)

    override fun tokensBefore(rest: String, whole: String): TokenCount? {
        val ids = encode(whole)
        val before = ids.size - encode(rest).size
        return if (before >= 0 && isExact(rest, ids, before, ids.size)) TokenCount(before, true) else null
    }

    override fun specialIn(message: String): String? = all.special(message)

    override fun spelling(id: Int): String? = all.spelling(id)

    /** The ids of [text], in which added tokens are recognised; no BOS is added. */
    fun encode(text: String): IntArray = run(text).ids.toArray()

    override fun slices(text: String, size: Int): List<String> {
        val whole = run(text)
        val ids = whole.ids.toArray()
        val ends = arrayListOf(0) // cuts; cut 0 is the beginning
        while (ids.size - whole.tokensAt(ends.last()) > size) {
            ends += nextCut(text, whole, ids, ends.last(), size) ?: break
        }
        // What is left may not begin at the last cut, where a tokenizer puts a space before each text.
        while (ends.size > 1) {
            val rest = text.substring(whole.cuts[ends.last()])
            if (isExact(rest, ids, whole.tokensAt(ends.last()), ids.size)) break
            ends.removeAt(ends.size - 1)
        }
        val places = ends.map { whole.cuts[it] } + text.length
        return places.zipWithNext(text::substring)
    }

    /**
     * The cut that ends a slice from cut [from] on. A slice is taken if its tokens alone are those it has in the text:
     * then the slices together have the text's, whatever the pre-tokenizer looks at.
     */
    private fun nextCut(text: String, whole: Encoded, ids: IntArray, from: Int, size: Int): Int? {
        val start = whole.tokensAt(from)
        val all = whole.cuts.size
        val after = (from + 1 until all).firstOrNull { whole.tokensAt(it) > start + size } ?: all
        val candidates = (after - 1 downTo maxOf(from + 1, after - TRIES)) + (after until minOf(after + TRIES, all))
        return candidates.firstOrNull { to ->
            val slice = text.substring(whole.cuts[from], whole.cuts[to])
            whole.tokensAt(to) > start && isExact(slice, ids, start, whole.tokensAt(to))
        }
    }

    /** Whether [part] alone has the tokens that are in [ids] from [start] until [end]. */
    private fun isExact(part: String, ids: IntArray, start: Int, end: Int): Boolean {
        val alone = encode(part)
        return alone.size == end - start && alone.indices.all { alone[it] == ids[start + it] }
    }

    private fun run(text: String): Encoded {
        val result = Encoded()
        val words = HashMap<String, IntArray>()
        for ((range, token) in beforeNormalizing.split(text.wellFormed())) {
            result.cut(range.first)
            if (token != null) result.ids.add(token.id) else encode(range.first, text.substring(range), result, words)
        }
        return result
    }

    private fun encode(start: Int, segment: String, result: Encoded, words: HashMap<String, IntArray>) {
        val text = normalize(segment.wellFormed())
        for ((range, token) in afterNormalizing.split(text)) {
            if (!changesText) result.cut(start + range.first)
            if (token != null) {
                result.ids.add(token.id)
                continue
            }
            val isFirst = start == 0 && range.first == 0
            for (piece in preTokenizer.split(Piece(start + range.first, text.substring(range)), isFirst)) {
                if (!changesText) result.cut(piece.start)
                words.getOrPut(piece.text) { model.encode(piece.text) }.forEach(result.ids::add)
            }
        }
    }

    /** Ids, and the places in the text where it may be cut, each with the ids before it. */
    private class Encoded {
        val ids = Ints()
        val cuts = arrayListOf(0)
        private val tokens = arrayListOf(0)

        fun tokensAt(cut: Int) = tokens[cut]

        fun cut(at: Int) {
            if (at <= cuts.last()) return
            cuts += at
            tokens += ids.size
        }
    }

    private companion object {
        const val TRIES = 16
    }
}

/** The merges of one word. */
internal class BpeModel(file: TokenizerFile) {
    private val vocabulary = file.vocabulary
    private val merges = file.merges
    private val takesWholeWords = file.model.flag("ignore_merges", false)
    private val fallsBackToBytes = file.model.flag("byte_fallback", false)
    private val joinsUnknown = file.model.flag("fuse_unk", false)
    private val unknown =
        file.model.get("unk_token")?.takeIf { !it.isJsonNull }?.let { vocabulary.id(it.asString) } ?: -1
    private val byteIds = if (fallsBackToBytes) IntArray(256) { vocabulary.id("<0x%02X>".format(it)) } else IntArray(0)
    private val firstIds = IntArray(512) { vocabulary.id(it.toChar().toString()) }

    init {
        val type = file.model.get("type")?.asString ?: "BPE"
        if (type != "BPE") throw UnknownTokenizerException("the model $type is not known")
        if (vocabulary.size == 0) throw UnknownTokenizerException("there is no vocabulary")
        for (name in listOf("dropout", "continuing_subword_prefix", "end_of_word_suffix")) {
            val value = file.model.get(name) ?: continue
            val isUnset = value.isJsonNull || value.asString.isEmpty() || value.asString.toDoubleOrNull() == 0.0
            if (!isUnset) throw UnknownTokenizerException("$name is $value, which is not known")
        }
    }

    fun encode(word: String): IntArray {
        if (takesWholeWords) {
            val id = vocabulary.id(word)
            if (id >= 0) return intArrayOf(id)
        }
        return merge(characters(word))
    }

    private fun characters(word: String): IntArray {
        val ids = Ints()
        var lastIsUnknown = false
        var at = 0
        while (at < word.length) {
            val codePoint = word.codePointAt(at)
            at += Character.charCount(codePoint)
            val id = id(codePoint)
            val bytes = if (id < 0 && fallsBackToBytes) byteIds(codePoint) else null
            when {
                id >= 0 -> ids.add(id)
                bytes != null -> bytes.forEach(ids::add)
                unknown >= 0 && !(joinsUnknown && lastIsUnknown) -> ids.add(unknown)
            }
            lastIsUnknown = id < 0 && bytes == null
        }
        return ids.toArray()
    }

    private fun id(codePoint: Int): Int =
        if (codePoint < firstIds.size) firstIds[codePoint] else vocabulary.id(String(Character.toChars(codePoint)))

    private fun byteIds(codePoint: Int): IntArray? {
        val bytes = String(Character.toChars(codePoint)).toByteArray()
        val ids = IntArray(bytes.size) { byteIds[bytes[it].toInt() and 0xFF] }
        return if (ids.all { it >= 0 }) ids else null
    }

    /** Merges the pair of the lowest rank, of equal ones the leftmost, until none is left. */
    private fun merge(ids: IntArray): IntArray {
        val count = ids.size
        if (count < 2) return ids
        val next = IntArray(count) { it + 1 }
        val previous = IntArray(count) { it - 1 }
        val queue = PriorityQueue<Long>()

        fun push(left: Int) {
            val right = next[left]
            if (right >= count) return
            val found = merges.find(ids[left], ids[right])
            if (found >= 0) queue.add((merges.rank(found).toLong() shl 32) or left.toLong())
        }
        for (left in 0 until count - 1) push(left)
        while (true) {
            val top = queue.poll() ?: break
            val left = top.toInt()
            val right = next[left]
            // What was queued may have been merged otherwise meanwhile.
            if (ids[left] < 0 || right >= count) continue
            val found = merges.find(ids[left], ids[right])
            if (found < 0 || merges.rank(found) != (top shr 32).toInt()) continue
            ids[left] = merges.result(found)
            ids[right] = -1
            next[left] = next[right]
            if (next[right] < count) previous[next[right]] = left
            if (previous[left] >= 0) push(previous[left])
            push(left)
        }
        return ids.filter { it >= 0 }.toIntArray()
    }
}

/** A growing list of ints. */
internal class Ints {
    private var values = IntArray(16)

    var size = 0
        private set

    fun add(value: Int) {
        if (size == values.size) values = values.copyOf(size * 2)
        values[size++] = value
    }

    fun toArray(): IntArray = values.copyOf(size)
}
