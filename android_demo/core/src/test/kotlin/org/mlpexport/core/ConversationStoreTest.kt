package org.mlpexport.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException

class ConversationStoreTest {
    @get:Rule val temporary = TemporaryFolder()

    private var now = 1_700_000_000_000
    private val folder by lazy { File(temporary.root, "conversations") }
    private val store by lazy { opened() }

    /** As another process would open it. */
    private fun opened(at: File = folder) = ConversationStore(at) { now++ }

    private val statistics = AnswerStatistics(12, 3, 5, 420, 88.5, null, 1_000_000)

    @Test
    fun `what was written is there for the next process`() {
        val id = store.create("demo", "Be brief.").id
        store.addUser(id, "  What is the capital\nof France? \uD83D\uDE42")
        val answer = store.startAnswer(id)
        store.updateAnswer(id, answer.id, "Par")
        store.updateAnswer(id, answer.id, "Paris")
        store.endAnswer(id, answer.id, Answer("Paris.", AnswerEnd.COMPLETE, statistics))
        val read = opened().read(id) ?: error("lost")
        assertEquals("What is the capital", read.title)
        assertEquals("demo", read.bundle)
        assertEquals("Be brief.", read.systemPrompt)
        assertEquals(listOf("  What is the capital\nof France? \uD83D\uDE42", "Paris."), read.messages.map { it.text })
        assertEquals(listOf(Role.USER, Role.ASSISTANT), read.messages.map { it.role })
        assertNull(read.messages[0].end)
        assertEquals(AnswerEnd.COMPLETE, read.messages[1].end)
        assertEquals(statistics, read.messages[1].statistics)
        assertEquals(store.read(id), read)
    }

    @Test
    fun `an answer that a process did not end stays as far as it came`() {
        val id = store.create("demo").id
        store.addUser(id, "Hi")
        val answer = store.startAnswer(id)
        store.updateAnswer(id, answer.id, "Hel")
        val message = opened().read(id)?.messages?.last()
        assertEquals("Hel", message?.text)
        assertEquals(AnswerEnd.INTERRUPTED, message?.end)
    }

    @Test
    fun `a kill at any byte keeps all that was whole before it`() {
        val id = store.create("demo").id
        val texts = listOf("Grüße \uD83D\uDE42", "second\nline")
        val lengths = ArrayList<Long>()
        val file = File(folder, "$id.jsonl")
        for (text in texts) {
            store.addUser(id, text)
            lengths += file.length()
        }
        val whole = file.readBytes()
        for (length in 0..whole.size) {
            val cut = File(temporary.root, "cut").apply { mkdirs() }
            File(cut, "$id.jsonl").writeBytes(whole.copyOf(length))
            val read = opened(cut).read(id)
            val expected = texts.filterIndexed { index, _ -> lengths[index] <= length }
            assertEquals("$length bytes", expected, read?.messages.orEmpty().map { it.text })
            if (read == null) continue
            val again = opened(cut)
            again.addUser(id, "after")
            assertEquals("$length bytes", expected + "after", opened(cut).read(id)?.messages?.map { it.text })
        }
    }

    @Test
    fun `a damaged line in the middle costs no other`() {
        val id = store.create("demo").id
        store.addUser(id, "one")
        store.addUser(id, "two")
        store.addUser(id, "three")
        val file = File(folder, "$id.jsonl")
        val lines = file.readLines().toMutableList()
        val damaged = lines.indexOfFirst { "\"two\"" in it }
        lines[damaged] = lines[damaged].replace("\"two\"", "\"two")
        file.writeText(lines.joinToString("\n", postfix = "\n"))
        assertEquals(listOf("one", "three"), opened().read(id)?.messages?.map { it.text })
    }

    @Test
    fun `edit drops what followed`() {
        val id = store.create("demo").id
        val first = store.addUser(id, "one")
        store.startAnswer(id)
        store.addUser(id, "two")
        store.edit(id, first.id, "uno")
        assertEquals(listOf("uno"), opened().read(id)?.messages?.map { it.text })
        assertEquals("the title stays", "one", store.read(id)?.title)
        assertThrows(IllegalArgumentException::class.java) { store.truncate(id, first.id) }
    }

    @Test
    fun `list, search, rename and delete`() {
        val old = store.create("demo").id
        store.addUser(old, "The RIVER Thames")
        val new = store.create("demo").id
        store.addUser(new, "mountains")
        assertEquals(listOf(new, old), store.list().map { it.id })
        assertEquals(listOf(old), store.search(" river ").map { it.id })
        assertEquals(emptyList<String>(), store.search("lake").map { it.id })
        store.rename(old, "Wet things")
        assertEquals(listOf(old, new), opened().list().map { it.id })
        assertEquals(listOf(old), opened().search("WET").map { it.id })
        store.delete(old)
        assertEquals(listOf(new), opened().list().map { it.id })
        assertNull(store.read(old))
        assertThrows(IOException::class.java) { store.addUser(old, "too late") }
        store.delete(old)
    }

    @Test
    fun `ids cannot name files elsewhere`() {
        val other = temporary.newFile("secret.jsonl")
        assertNull(store.read("../secret"))
        store.delete("../secret")
        assertTrue(other.exists())
    }

    @Test
    fun `a folder that cannot be made`() {
        val file = temporary.newFile("file")
        assertThrows(IOException::class.java) { opened(File(file, "folder")).create("demo") }
        assertEquals(emptyList<Conversation>(), opened(File(file, "folder")).list())
    }

    @Test
    fun `an answer only grows`() {
        val id = store.create("demo").id
        val answer = store.startAnswer(id)
        store.updateAnswer(id, answer.id, "ab")
        val length = File(folder, "$id.jsonl").length()
        store.updateAnswer(id, answer.id, "ab")
        assertEquals(length, File(folder, "$id.jsonl").length())
        assertThrows(IllegalStateException::class.java) { store.updateAnswer(id, answer.id, "b") }
    }

    @Test
    fun `titles are one line and cut at a word`() {
        assertEquals("", ConversationStore.titleOf(" \n "))
        assertEquals("a b", ConversationStore.titleOf("\n a b \nc"))
        val long = ConversationStore.titleOf("word ".repeat(30))
        assertTrue(long, long.length <= 60 && long.endsWith("word…"))
        val emoji = ConversationStore.titleOf("x" + "\uD83D\uDE42".repeat(40))
        assertFalse(emoji, emoji.dropLast(1).last().isHighSurrogate())
    }

    @Test
    fun `exported as text`() {
        val id = store.create("demo", "Be kind.").id
        store.addUser(id, "Hi")
        val answer = store.startAnswer(id)
        store.endAnswer(id, answer.id, Answer("Hello!\n", AnswerEnd.COMPLETE, statistics))
        val conversation = store.read(id) ?: error("lost")
        val text = ConversationStore.export(conversation) { it.name.lowercase() }
        assertEquals("Hi\n\nsystem:\nBe kind.\n\nuser:\nHi\n\nassistant:\nHello!\n", text)
    }
}
