package org.mlpexport.demo

import android.app.AlertDialog
import android.content.ActivityNotFoundException
import android.content.Intent
import android.net.Uri
import android.text.InputType
import android.view.WindowManager
import android.widget.EditText
import android.widget.FrameLayout
import android.widget.Toast
import org.mlpexport.core.ChatMessage
import org.mlpexport.core.Conversation
import java.io.FileNotFoundException
import java.io.IOException

// What several screens do with a conversation or a message.

/** A Binder transaction holds a megabyte, and a character is two bytes. */
private const val MOST_SHARED = 200_000

fun Screen.renameDialog(conversation: Conversation, done: () -> Unit) {
    val field = EditText(this)
    field.setText(conversation.title)
    field.setSelection(conversation.title.length)
    field.inputType = InputType.TYPE_CLASS_TEXT or InputType.TYPE_TEXT_FLAG_CAP_SENTENCES
    field.contentDescription = getString(R.string.title)
    val frame = FrameLayout(this)
    val side = resources.getDimensionPixelSize(R.dimen.dialog_padding)
    frame.setPadding(side, 0, side, 0)
    frame.addView(field)
    val dialog = AlertDialog.Builder(this)
        .setTitle(R.string.rename)
        .setView(frame)
        .setNegativeButton(R.string.cancel, null)
        .setPositiveButton(R.string.rename) { _, _ ->
            val title = field.text.toString().trim()
            if (title.isNotEmpty()) changing { app.conversations.rename(conversation.id, title) }
            done()
        }
        .create()
    dialog.window?.setSoftInputMode(WindowManager.LayoutParams.SOFT_INPUT_STATE_VISIBLE)
    dialog.show()
    field.requestFocus()
}

fun Screen.deleteDialog(conversation: Conversation, done: () -> Unit) {
    AlertDialog.Builder(this)
        .setTitle(R.string.delete_question)
        .setMessage(getString(R.string.delete_text, conversation.title))
        .setNegativeButton(R.string.cancel, null)
        .setPositiveButton(R.string.delete) { _, _ -> if (changing { app.chats.delete(conversation.id) }) done() }
        .show()
}

fun Screen.share(conversation: Conversation, text: String) {
    if (text.length > MOST_SHARED) {
        Toast.makeText(this, R.string.too_long_to_share, Toast.LENGTH_LONG).show()
        return
    }
    val intent = Intent(Intent.ACTION_SEND)
        .setType("text/plain")
        .putExtra(Intent.EXTRA_SUBJECT, conversation.title)
        .putExtra(Intent.EXTRA_TEXT, text)
    startActivity(Intent.createChooser(intent, getString(R.string.share_text)))
}

/** Lets the system ask where to save; the result's data is for [save]. */
fun saveIntent(conversation: Conversation): Intent {
    val name = conversation.title.map { if (it.isLetterOrDigit()) it else ' ' }.joinToString("").trim()
    return Intent(Intent.ACTION_CREATE_DOCUMENT)
        .addCategory(Intent.CATEGORY_OPENABLE)
        .setType("text/plain")
        .putExtra(Intent.EXTRA_TITLE, name.ifEmpty { conversation.id } + ".txt")
}

/** Starts [intent], or says that no app of the phone takes it. */
fun Screen.startForResultOrTell(intent: Intent, code: Int) {
    try {
        startActivityForResult(intent, code)
    } catch (_: ActivityNotFoundException) {
        Toast.makeText(this, R.string.no_picker, Toast.LENGTH_LONG).show()
    }
}

fun Screen.save(text: String, to: Uri) {
    val application = app // the screen may be gone when it is done
    application.background.execute {
        val result = try {
            val output = application.contentResolver.openOutputStream(to, "wt")
            (output ?: throw FileNotFoundException("$to")).use { it.write(text.toByteArray()) }
            application.getString(R.string.saved)
        } catch (problem: IOException) {
            application.getString(R.string.save_failed, problem.message)
        } catch (problem: SecurityException) { // the permission ended with the other app
            application.getString(R.string.save_failed, problem.message)
        }
        application.mainExecutor.execute { Toast.makeText(application, result, Toast.LENGTH_LONG).show() }
    }
}

/** False, and said, if the store could not be written. */
private fun Screen.changing(change: () -> Unit): Boolean = try {
    change()
    true
} catch (problem: IOException) {
    Toast.makeText(this, getString(R.string.store_failed, problem.message), Toast.LENGTH_LONG).show()
    false
}

/** All figures of an answer; nothing for a message without. */
fun Screen.statisticsDialog(message: ChatMessage, texts: ConversationTexts) {
    val statistics = message.statistics ?: return
    AlertDialog.Builder(this)
        .setTitle(R.string.statistics)
        .setMessage(texts.details(statistics))
        .setPositiveButton(R.string.close, null)
        .show()
}
