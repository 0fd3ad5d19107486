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
import java.io.RandomAccessFile

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
        store.addUser(id, "uno", replaces = first.id)
        assertEquals(listOf("uno"), opened().read(id)?.messages?.map { it.text })
        assertEquals("the title stays", "one", store.read(id)?.title)
        assertThrows(IOException::class.java) { store.addUser(id, "eins", replaces = first.id) }
        assertThrows(IOException::class.java) { store.startAnswer(id, replaces = first.id) }
        assertEquals(listOf("uno"), opened().read(id)?.messages?.map { it.text })
    }

    @Test
    fun `an answer is replaced`() {
        val id = store.create("demo").id
        store.addUser(id, "one")
        val answer = store.startAnswer(id)
        store.updateAnswer(id, answer.id, "1")
        store.startAnswer(id, replaces = answer.id)
        assertEquals(listOf("one", ""), opened().read(id)?.messages?.map { it.text })
    }

    /** What another process reads of [id] for each length at which its file may have been cut. */
    private fun cuts(id: String): List<List<String>?> {
        val whole = File(folder, "$id.jsonl").readBytes()
        val cut = File(temporary.root, "cut").apply { mkdirs() }
        return (0..whole.size).map { length ->
            File(cut, "$id.jsonl").writeBytes(whole.copyOf(length))
            opened(cut).read(id)?.messages?.map { it.text }
        }
    }

    @Test
    fun `a kill at any byte of an edit loses neither text`() {
        val id = store.create("demo").id
        val first = store.addUser(id, "one")
        store.addUser(id, "two")
        val before = File(folder, "$id.jsonl").length().toInt()
        store.atOnce {
            store.addUser(id, "uno", replaces = first.id)
            store.startAnswer(id)
        }
        val read = cuts(id).drop(before)
        assertEquals(listOf(listOf("one", "two"), listOf("uno"), listOf("uno", "")), read.distinct())
    }

    @Test
    fun `what is written at once is one append`() {
        val id = store.atOnce {
            val id = store.create("demo").id
            store.addUser(id, "Hi")
            store.startAnswer(id)
            assertEquals("nothing is written yet", emptyList<File>(), folder.listFiles().orEmpty().toList())
            assertEquals("but read", listOf("Hi", ""), store.read(id)?.messages?.map { it.text })
            id
        }
        assertEquals(store.read(id), opened().read(id))
        assertEquals("Hi", opened().read(id)?.title)
        val read = cuts(id).distinct()
        assertEquals(listOf(null, emptyList(), listOf("Hi"), listOf("Hi", "")), read)
    }

    @Test
    fun `of what fails at once nothing is kept`() {
        val old = store.create("demo").id
        store.addUser(old, "one")
        val bytes = File(folder, "$old.jsonl").readText()
        assertThrows(IOException::class.java) {
            store.atOnce {
                store.addUser(old, "two")
                store.addUser(old, "three", replaces = "gone")
            }
        }
        assertEquals(listOf("one"), store.read(old)?.messages?.map { it.text })
        assertEquals(bytes, File(folder, "$old.jsonl").readText())
        assertThrows(IllegalStateException::class.java) {
            store.atOnce {
                store.addUser(old, "two")
                store.create("demo")
            }
        }
        assertEquals(listOf(old), store.list().map { it.id })
        store.addUser(old, "later") // and it goes on
        assertEquals(listOf("one", "later"), opened().read(old)?.messages?.map { it.text })
    }

    @Test
    fun `a disk that is full within an append keeps nothing of it`() {
        val id = store.create("demo").id
        store.addUser(id, "one")
        val file = File(folder, "$id.jsonl")
        val before = file.readText()
        val full = { output: RandomAccessFile, bytes: ByteArray ->
            output.write(bytes, 0, bytes.indexOf('\n'.code.toByte()) + 1)
            throw IOException("No space left on device")
        }
        val changes = listOf(Change.Rename(now, "new"), Change.Rename(now, "newer"))
        assertThrows(IOException::class.java) { ConversationLog(file, full).append(changes) }
        assertEquals(before, file.readText())
        val new = File(folder, "new.jsonl")
        assertThrows(IOException::class.java) { ConversationLog(new, full).append(changes) }
        assertFalse(new.exists())
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
