package org.mlpexport.demo

import android.content.Context
import android.net.Uri
import org.mlpexport.core.Bundle
import org.mlpexport.core.TokenCount
import org.mlpexport.core.Tokenizer
import java.io.IOException

/** A text file that was opened, or the sentence that says why not. */
sealed interface OpenedDocument {
    data class Text(val name: String, val text: String, val tokens: TokenCount) : OpenedDocument

    data class Refused(val sentence: String) : OpenedDocument
}

/** Reads a text file and counts its tokens; blocks. */
class DocumentReader(private val context: Context, private val tokenizers: (Bundle) -> Tokenizer) {
    fun read(uri: Uri, bundle: Bundle): OpenedDocument =
        when (val file = TextFileReader(context).read(uri, bundle.manifest.context)) {
            is TextFile.Refused -> OpenedDocument.Refused(file.sentence)
            is TextFile.Text -> try {
                text(file.name, file.text, bundle)
            } catch (_: OutOfMemoryError) {
                OpenedDocument.Refused(context.getString(R.string.document_no_memory, file.name))
            } catch (e: IOException) {
                unreadable(file.name, e)
            } catch (e: RuntimeException) {
                unreadable(file.name, e) // of the tokenizer's file
            }
        }

    private fun unreadable(name: String, problem: Exception): OpenedDocument {
        val reason = problem.message ?: problem.javaClass.simpleName
        return OpenedDocument.Refused(context.getString(R.string.document_unreadable, name, reason))
    }

    private fun text(name: String, text: String, bundle: Bundle): OpenedDocument {
        val tokenizer = tokenizers(bundle)
        tokenizer.specialIn(text)?.let {
            return OpenedDocument.Refused(context.getString(R.string.prompt_special_token, it))
        }
        val tokens = tokenizer.count(bundle.manifest.tokenizer.normalize(text))
        val size = bundle.manifest.context
        if (tokens.tokens < size) return OpenedDocument.Text(name, text, tokens)
        val sentence = context.getString(
            R.string.document_too_long,
            name,
            context.number(tokens.tokens),
            context.number(size),
            context.number(tokens.tokens - size + 1),
        )
        return OpenedDocument.Refused(sentence)
    }
}
