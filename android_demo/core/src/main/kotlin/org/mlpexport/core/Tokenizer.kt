package org.mlpexport.core

import java.io.File
import java.io.IOException

/** A number of tokens, and whether it is what the runtime will count or an estimate. */
data class TokenCount(val tokens: Int, val exact: Boolean) {
    operator fun plus(other: TokenCount) = TokenCount(tokens + other.tokens, exact && other.exact)
}

/** Counts tokens as the runtime's tokenizer will make them. Any thread may call it. */
interface Tokenizer {
    /** Null where counts are exact; else why they are estimates. */
    val inexactBecause: String?

    /** Tokens of [text], in which special tokens are recognised. */
    fun count(text: String): TokenCount

    /**
     * Tokens of [whole] before [rest], with which it ends; null where [rest] alone has other tokens than in its place,
     * as behind a tokenizer that puts a space before each text.
     */
    fun tokensBefore(rest: String, whole: String): TokenCount?

    /** The spelling of a special token in [message], which a message must not have; null where there is none. */
    fun specialIn(message: String): String?

    /** How the added token [id] is spelled in a text; null where that is not known. */
    fun spelling(id: Int): String?

    /**
     * [text] in slices of about [size] tokens. The tokens of the slices, one after the other, are the tokens of [text],
     * so that a prompt can be fed in steps. An estimating tokenizer cuts where words begin, which is nearly always so.
     */
    fun slices(text: String, size: Int): List<String>

    companion object {
        /**
         * The tokenizer in a `tokenizer.json`. One of a kind that is not read here, or a damaged one, gives estimates
         * and says why in [inexactBecause]. Reads the file once, as a stream; takes seconds for a large vocabulary.
         */
        fun open(file: File): Tokenizer {
            val read = TokenizerFile()
            return try {
                file.bufferedReader().use(read::read)
                BpeTokenizer(read)
            } catch (exception: UnknownTokenizerException) {
                EstimatingTokenizer(AddedTokens(read.added), exception.message.orEmpty())
            } catch (exception: IOException) {
                EstimatingTokenizer(AddedTokens(read.added), "cannot read ${file.name}: ${exception.message}")
            } catch (exception: RuntimeException) { // what Gson throws for values of other kinds than expected
                EstimatingTokenizer(AddedTokens(read.added), "${file.name} is damaged: $exception")
            }
        }
    }
}

/** A tokenizer.json that says something that is not known here. */
internal class UnknownTokenizerException(what: String) : Exception(what)
