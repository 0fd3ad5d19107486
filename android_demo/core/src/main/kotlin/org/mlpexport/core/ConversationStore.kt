package org.mlpexport.core

import java.io.File
import java.io.IOException
import kotlin.random.Random

private val ID = Regex("[0-9a-z-]{1,64}")
private const val MOST_TITLE = 60

/**
 * Conversations in [folder], a file each. Every change is on the disk when its function returns, so that a killed
 * process loses no message; an answer that it was about stays as INTERRUPTED. Any thread may call; all block on the
 * disk, and throw IOException where it is full or gone. [clock] gives milliseconds since the epoch.
 */
class ConversationStore(private val folder: File, private val clock: () -> Long = System::currentTimeMillis) {
    private val known = HashMap<String, Conversation>()
    private var batch: MutableList<Pair<String, Change>>? = null

    /** All conversations, the last changed first. */
    @Synchronized
    fun list(): List<Conversation> =
        folder.listFiles().orEmpty()
            .filter { it.name.endsWith(SUFFIX) }
            .mapNotNull { read(it.name.removeSuffix(SUFFIX)) }
            .sortedWith(compareByDescending<Conversation> { it.changed }.thenByDescending { it.id })

    /** Conversations whose title or messages have [text] in them, in whatever case, the last changed first. */
    fun search(text: String): List<Conversation> {
        val wanted = text.trim()
        return list().filter { conversation ->
            conversation.title.contains(wanted, ignoreCase = true) ||
                conversation.messages.any { it.text.contains(wanted, ignoreCase = true) }
        }
    }

    /** Null where there is none of that id. */
    @Synchronized
    fun read(id: String): Conversation? {
        if (!ID.matches(id)) return null
        return known[id] ?: log(id).read()?.also { known[id] = it }
    }

    /** A new conversation with the bundle in the folder named [bundle]. Its title is to be its first message. */
    @Synchronized
    fun create(bundle: String, systemPrompt: String? = null): Conversation {
        if (!folder.isDirectory && !folder.mkdirs()) throw IOException("$folder cannot be made")
        val id = newId()
        return write(id, Change.Start(clock(), id, "", bundle, systemPrompt))
    }

    /** Runs [changes] of one conversation, and writes all of them at the end: one append, or none of them. */
    @Synchronized
    fun <T> atOnce(changes: () -> T): T {
        check(batch == null) { "atOnce in atOnce" }
        val before = HashMap(known)
        val batch = ArrayList<Pair<String, Change>>().also { this.batch = it }
        var written = false
        try {
            val result = changes()
            val ids = batch.map { it.first }.toSet()
            check(ids.size <= 1) { "changes of several conversations: $ids" }
            if (ids.isNotEmpty()) log(ids.single()).append(batch.map { it.second })
            written = true
            return result
        } finally {
            this.batch = null
            if (!written) {
                known.clear()
                known.putAll(before)
            }
        }
    }

    /** Adds what the user wrote; in place of the message [replaces] and all after it, if given. */
    @Synchronized
    fun addUser(id: String, text: String, replaces: String? = null): ChatMessage {
        if (existing(id).title.isEmpty()) write(id, Change.Rename(clock(), titleOf(text)))
        return add(id, ChatMessage(newId(), Role.USER, text, clock()), replaces)
    }

    /**
     * Adds an answer that is about to be written: INTERRUPTED, until [endAnswer]; in place of the message [replaces]
     * and all after it, if given.
     */
    @Synchronized
    fun startAnswer(id: String, replaces: String? = null): ChatMessage =
        add(id, ChatMessage(newId(), Role.ASSISTANT, "", clock(), AnswerEnd.INTERRUPTED), replaces)

    /** Keeps what there is of an answer: all of its [text] so far. */
    @Synchronized
    fun updateAnswer(id: String, message: String, text: String) {
        val before = existing(id).messages.firstOrNull { it.id == message } ?: return
        if (text == before.text) return
        check(text.startsWith(before.text)) { "an answer only grows" }
        write(id, Change.More(clock(), message, text.substring(before.text.length)))
    }

    /** The answer as it stands is whole. */
    @Synchronized
    fun endAnswer(id: String, message: String, answer: Answer) {
        updateAnswer(id, message, answer.text)
        write(id, Change.End(clock(), message, answer.end, answer.statistics))
    }

    /** The answer as it stands is all there will be. */
    @Synchronized
    fun endAnswer(id: String, message: String, end: AnswerEnd) {
        write(id, Change.End(clock(), message, end, null))
    }

    @Synchronized
    fun rename(id: String, title: String): Conversation = write(id, Change.Rename(clock(), titleOf(title)))

    @Synchronized
    fun delete(id: String) {
        if (!ID.matches(id)) return
        known -= id
        if (!file(id).delete() && file(id).exists()) throw IOException("${file(id)} cannot be deleted")
    }

    private fun add(id: String, message: ChatMessage, replaces: String?): ChatMessage {
        val there = replaces == null || existing(id).messages.any { it.id == replaces }
        if (!there) throw IOException("the conversation $id has no message $replaces any more")
        write(id, Change.Add(message.time, message, replaces))
        return message
    }

    private fun write(id: String, change: Change): Conversation {
        val before = if (change is Change.Start) null else existing(id)
        batch?.add(id to change) ?: log(id).append(listOf(change))
        return checkNotNull(before.after(change)).also { known[id] = it }
    }

    private fun existing(id: String): Conversation = read(id) ?: throw IOException("there is no conversation $id")

    private fun log(id: String) = ConversationLog(file(id))

    private fun file(id: String) = File(folder, id + SUFFIX)

    /** Ids sort by time. */
    private fun newId(): String = "%013d-%08x".format(java.util.Locale.ROOT, clock(), Random.nextInt())

    companion object {
        private const val SUFFIX = ".jsonl"

        /** [conversation] as text to share. [name] gives the heading of a role in the user's language. */
        fun export(conversation: Conversation, name: (Role) -> String): String =
            buildString {
                append(conversation.title).append('\n')
                conversation.systemPrompt?.let { append("\n${name(Role.SYSTEM)}:\n$it\n") }
                for (message in conversation.messages) append("\n${name(message.role)}:\n${message.text.trim()}\n")
            }

        /** The first line of [text] that says something, cut at a word. */
        internal fun titleOf(text: String): String {
            val line = text.lineSequence().map { it.trim() }.firstOrNull { it.isNotEmpty() }.orEmpty()
            if (line.length <= MOST_TITLE) return line
            val cut = line.take(MOST_TITLE - 1)
            val hasWords = ' ' in cut.drop(MOST_TITLE / 2)
            return (if (hasWords) cut.substringBeforeLast(' ') else cut.dropLastWhile(Char::isHighSurrogate)) + "…"
        }
    }
}
