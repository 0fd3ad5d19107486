package org.mlpexport.demo

import android.content.Context
import android.net.Uri
import org.mlpexport.core.Bundle
import org.mlpexport.core.TextDocument
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
    fun read(uri: Uri, bundle: Bundle): OpenedDocument {
        var name = uri.lastPathSegment.orEmpty().substringAfterLast('/')
        return try {
            val files = PickedFiles(context.contentResolver)
            name = files.displayName(uri).ifEmpty { name }
            val bytes = files.open(uri).use { it.readAtMost(TextDocument.MOST_BYTES.toInt() + 1) }
            when (val document = TextDocument.read(bytes)) {
                is TextDocument.Text -> text(name, document.text, bundle)
                is TextDocument.Refused -> OpenedDocument.Refused(sentence(name, document))
            }
        } catch (e: IOException) {
            unreadable(name, e)
        } catch (_: SecurityException) {
            OpenedDocument.Refused(context.getString(R.string.document_not_allowed, name))
        } catch (e: RuntimeException) {
            unreadable(name, e) // whatever the provider of another app throws
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
        val tokens = tokenizer.count(text)
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

    private fun sentence(name: String, refused: TextDocument.Refused): String {
        val position = context.number(refused.position.toInt())
        return when (refused.problem) {
            TextDocument.Problem.EMPTY -> context.getString(R.string.document_empty, name)
            TextDocument.Problem.TOO_BIG ->
                context.getString(R.string.document_too_big, name, context.size(TextDocument.MOST_BYTES))
            TextDocument.Problem.UTF_16 -> context.getString(R.string.document_utf16, name)
            TextDocument.Problem.BINARY -> context.getString(R.string.document_binary, name, position)
            TextDocument.Problem.NOT_UTF_8 -> context.getString(R.string.document_not_utf8, name, position)
        }
    }
}
