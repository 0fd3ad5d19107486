package org.mlpexport.demo

import android.content.Context
import android.net.Uri
import org.mlpexport.core.TextDocument
import java.io.IOException

/** A file that was read as text, or the sentence that says why not. */
sealed interface TextFile {
    data class Text(val name: String, val text: String) : TextFile

    data class Refused(val sentence: String) : TextFile
}

/** Reads files of other apps as text; blocks. */
class TextFileReader(private val context: Context) {
    /** The file at [uri], of which no more is read than [tokens] tokens may have. */
    fun read(uri: Uri, tokens: Int): TextFile {
        var name = uri.lastPathSegment.orEmpty().substringAfterLast('/')
        val most = TextDocument.mostBytes(tokens)
        return try {
            val files = PickedFiles(context.contentResolver)
            name = files.displayName(uri).ifEmpty { name }
            val bytes = files.open(uri).use { it.readAtMost(most.toInt() + 1) }
            when (val document = TextDocument.read(bytes, most)) {
                is TextDocument.Text -> TextFile.Text(name, document.text)
                is TextDocument.Refused -> TextFile.Refused(sentence(name, document, most))
            }
        } catch (e: IOException) {
            unreadable(name, e)
        } catch (_: SecurityException) {
            TextFile.Refused(context.getString(R.string.document_not_allowed, name))
        } catch (e: RuntimeException) {
            unreadable(name, e) // whatever the provider of another app throws
        } catch (_: OutOfMemoryError) {
            TextFile.Refused(context.getString(R.string.document_no_memory, name))
        }
    }

    private fun unreadable(name: String, problem: Exception): TextFile {
        val reason = problem.message ?: problem.javaClass.simpleName
        return TextFile.Refused(context.getString(R.string.document_unreadable, name, reason))
    }

    private fun sentence(name: String, refused: TextDocument.Refused, most: Long): String {
        val position = context.number(refused.position.toInt())
        return when (refused.problem) {
            TextDocument.Problem.EMPTY -> context.getString(R.string.document_empty, name)
            TextDocument.Problem.TOO_BIG -> context.getString(R.string.document_too_big, name, context.size(most))
            TextDocument.Problem.UTF_16 -> context.getString(R.string.document_utf16, name)
            TextDocument.Problem.BINARY -> context.getString(R.string.document_binary, name, position)
            TextDocument.Problem.NOT_UTF_8 -> context.getString(R.string.document_not_utf8, name, position)
        }
    }
}
