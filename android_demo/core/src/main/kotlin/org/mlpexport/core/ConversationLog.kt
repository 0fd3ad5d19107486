package org.mlpexport.core

import com.google.gson.JsonElement
import com.google.gson.JsonNull
import com.google.gson.JsonObject
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.channels.FileChannel
import java.nio.file.StandardOpenOption

/** One change of a conversation: a line of its file. */
internal sealed interface Change {
    val time: Long

    data class Start(
        override val time: Long,
        val id: String,
        val title: String,
        val bundle: String,
        val systemPrompt: String?,
    ) : Change

    /** Drops the message [replaces], if given, and all after it. One change, so that no kill loses both. */
    data class Add(override val time: Long, val message: ChatMessage, val replaces: String? = null) : Change

    /** [text] is what came since the last one: an answer of an hour must not be written anew each second. */
    data class More(override val time: Long, val message: String, val text: String) : Change

    data class End(
        override val time: Long,
        val message: String,
        val end: AnswerEnd,
        val statistics: AnswerStatistics?,
    ) : Change

    data class Rename(override val time: Long, val title: String) : Change
}

/** The conversation after [change]. Null before there is one. */
internal fun Conversation?.after(change: Change): Conversation? {
    if (change is Change.Start) {
        return Conversation(
            change.id,
            change.title,
            change.bundle,
            change.systemPrompt,
            created = change.time,
            changed = change.time,
            messages = emptyList(),
        )
    }
    val before = this ?: return null
    val changed =
        when (change) {
            is Change.Start -> before
            is Change.Add -> {
                val kept = before.messages.takeWhile { it.id != change.replaces }
                before.copy(messages = kept + change.message)
            }
            is Change.More -> before.with(change.message) { it.copy(text = it.text + change.text) }
            is Change.End -> before.with(change.message) { it.copy(end = change.end, statistics = change.statistics) }
            is Change.Rename -> before.copy(title = change.title)
        }
    return changed.copy(changed = change.time)
}

private fun Conversation.with(id: String, change: (ChatMessage) -> ChatMessage) =
    copy(messages = messages.map { if (it.id == id) change(it) else it })

/**
 * The file of a conversation: JSON objects, a line each, appended and synced. A process that is killed leaves at most a
 * part of a last line, which is ignored, and cut off by the next [append].
 */
internal class ConversationLog(
    private val file: File,
    private val write: (RandomAccessFile, ByteArray) -> Unit = RandomAccessFile::write,
) {
    fun read(): Conversation? {
        val text =
            try {
                file.readText()
            } catch (_: IOException) {
                return null
            }
        val whole = text.substring(0, text.lastIndexOf('\n') + 1)
        val changes = whole.lineSequence().mapNotNull(::changeOrNull)
        return changes.fold(null as Conversation?) { conversation, change -> conversation.after(change) }
    }

    /** Writes all of [changes] or, where it throws IOException as for a full disk, none. */
    fun append(changes: List<Change>) {
        val isNew = !file.exists()
        try {
            RandomAccessFile(file, "rw").use { append(it, changes) }
        } catch (failure: IOException) {
            if (isNew) file.delete()
            throw failure
        }
        // The name is durable once the folder is, too.
        if (isNew) syncFolder(file.parentFile)
    }

    private fun append(output: RandomAccessFile, changes: List<Change>) {
        val end = endOfLastLine(output)
        output.setLength(end)
        output.seek(end)
        try {
            write(output, changes.joinToString("") { "${toJson(it)}\n" }.toByteArray())
            output.fd.sync()
        } catch (failure: IOException) {
            output.setLength(end) // a first line that was written whole would count
            throw failure
        }
    }

    private fun endOfLastLine(input: RandomAccessFile): Long {
        var end = input.length()
        val buffer = ByteArray(4096)
        while (end > 0) {
            val start = maxOf(end - buffer.size, 0)
            val count = (end - start).toInt()
            input.seek(start)
            input.readFully(buffer, 0, count)
            val newline = (count - 1 downTo 0).firstOrNull { buffer[it] == '\n'.code.toByte() }
            if (newline != null) return start + newline + 1
            end = start
        }
        return 0
    }
}

private fun syncFolder(folder: File?) {
    try {
        if (folder != null) FileChannel.open(folder.toPath(), StandardOpenOption.READ).use { it.force(true) }
    } catch (_: IOException) {
        // Some file systems cannot open folders; the file itself is synced.
    }
}

private fun toJson(change: Change): JsonObject {
    val json = JsonObject()
    json.addProperty("time", change.time)
    when (change) {
        is Change.Start -> {
            json.addProperty("change", "start")
            json.addProperty("id", change.id)
            json.addProperty("title", change.title)
            json.addProperty("bundle", change.bundle)
            json.addProperty("system_prompt", change.systemPrompt)
        }
        is Change.Add -> {
            json.addProperty("change", "add")
            json.addProperty("message", change.message.id)
            json.addProperty("role", change.message.role.name)
            json.addProperty("text", change.message.text)
            json.addProperty("end", change.message.end?.name)
            json.add("statistics", toJson(change.message.statistics))
            if (change.replaces != null) json.addProperty("replaces", change.replaces)
        }
        is Change.More -> {
            json.addProperty("change", "more")
            json.addProperty("message", change.message)
            json.addProperty("text", change.text)
        }
        is Change.End -> {
            json.addProperty("change", "end")
            json.addProperty("message", change.message)
            json.addProperty("end", change.end.name)
            json.add("statistics", toJson(change.statistics))
        }
        is Change.Rename -> {
            json.addProperty("change", "rename")
            json.addProperty("title", change.title)
        }
    }
    return json
}

/** Null for a line that is damaged: what the others say is kept. */
private fun changeOrNull(line: String): Change? =
    try {
        (parseJson(line) as? JsonObject)?.let { change(JsonFields(it)) }
    } catch (_: JsonException) {
        null
    } catch (_: IllegalArgumentException) { // a name of an enum
        null
    }

private fun change(json: JsonFields): Change? {
    val time = json.long("time", least = 0)
    return when (json.string("change")) {
        "start" ->
            Change.Start(
                time,
                json.string("id"),
                json.string("title"),
                json.string("bundle"),
                json.stringOrNull("system_prompt"),
            )
        "add" -> {
            val end = json.stringOrNull("end")?.let(AnswerEnd::valueOf)
            val role = Role.valueOf(json.string("role"))
            val statistics = json.fieldsOrNull("statistics")?.let(::statistics)
            val message = ChatMessage(json.string("message"), role, json.string("text"), time, end, statistics)
            Change.Add(time, message, if (json.has("replaces")) json.string("replaces") else null)
        }
        "more" -> Change.More(time, json.string("message"), json.string("text"))
        "end" -> {
            val statistics = json.fieldsOrNull("statistics")?.let(::statistics)
            Change.End(time, json.string("message"), AnswerEnd.valueOf(json.string("end")), statistics)
        }
        "rename" -> Change.Rename(time, json.string("title"))
        else -> null
    }
}

private fun toJson(statistics: AnswerStatistics?): JsonElement {
    if (statistics == null) return JsonNull.INSTANCE
    val json = JsonObject()
    json.addProperty("prompt_tokens", statistics.promptTokens)
    json.addProperty("cached_tokens", statistics.cachedTokens)
    json.addProperty("answer_tokens", statistics.answerTokens)
    json.addProperty("first_token_ms", statistics.firstTokenMillis)
    json.addProperty("prefill_tok_s", statistics.prefillTokensPerSecond)
    json.addProperty("decode_tok_s", statistics.decodeTokensPerSecond)
    json.addProperty("memory_bytes", statistics.memoryBytes)
    return json
}

private fun statistics(json: JsonFields) =
    AnswerStatistics(
        promptTokens = json.int("prompt_tokens", least = 0),
        cachedTokens = json.int("cached_tokens", least = 0),
        answerTokens = json.int("answer_tokens", least = 0),
        firstTokenMillis = json.long("first_token_ms", least = 0),
        prefillTokensPerSecond = json.doubleOrNull("prefill_tok_s"),
        decodeTokensPerSecond = json.doubleOrNull("decode_tok_s"),
        memoryBytes = json.long("memory_bytes", least = 0),
    )
