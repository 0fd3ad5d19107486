package org.mlpexport.core

import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonObject
import com.google.gson.JsonParser
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

class BenchTest {
    @get:Rule val temporary = TemporaryFolder()

    private val host =
        BenchHost(
            appId = "org.mlpexport.demo",
            appVersion = "1.0",
            runtimes = mapOf("executorch" to "1.3.1"),
            manufacturer = "samsung",
            model = "SM-S921B",
            socModel = null,
            abi = "arm64-v8a",
            android = "14",
            sdk = 34,
            cores = 8,
            totalMemoryBytes = 7_800_000_000,
        )
    private val engine = FakeEngine(context = 1000).apply { otherwise = List(4) { "w" } }
    private val files = mapOf("model.pte" to FileEntry(9, "0".repeat(64)))
    private val bundle = Bundle(File("/bundles/demo"), manifest(context = 1000, files = files))
    private val plan =
        BenchPlan("id-1", "demo", listOf(50, 998, 20), newTokens = 3, repetitions = 2, sustainedSeconds = 0)
    private val published = ArrayList<BenchResult>()
    private var nanos = 0L
    private var threads = 10

    private val sensors =
        object : BenchSensors {
            /** Every look at the clock takes a second. */
            override fun nanos(): Long = nanos.also { nanos += 1_000_000_000 }

            override fun thermal() = "light"

            override fun headroom() = 0.25

            override fun threads(): Int = threads.also { threads += 3 }

            override fun memory() = 123L
        }

    private fun run(
        plan: BenchPlan = this.plan,
        tokenizer: Tokenizer = WordTokenizer(),
        cancelled: () -> Boolean = { false },
    ) = BenchRunner(plan, bundle, engine, tokenizer, host, sensors, published::add, cancelled).run()

    @Test
    fun `plans of the vectors`() {
        val cases = vectors("bench.json").objects("plans")
        assertTrue(cases.size > 10)
        for (case in cases) {
            val text = case.get("text").asString
            if (case.get("valid").asBoolean) {
                assertEquals(case.name, JsonParser.parseString(text), BenchPlan.parse(text).toJson())
            } else {
                assertThrows(case.name, JsonException::class.java) { BenchPlan.parse(text) }
            }
        }
    }

    @Test
    fun `the id of a bad plan`() {
        assertEquals("a-1", BenchPlan.idOf("""{"id": "a-1", "new_tokens": 0}"""))
        for (text in listOf("", "[]", "{}", """{"id": 1}""", """{"id": "../x"}""", """{"id": "a""")) {
            assertNull(text, BenchPlan.idOf(text))
        }
    }

    @Test
    fun `lengths that fit are run as often as wanted`() {
        val result = run()
        assertEquals(BenchResult.Status.DONE, result.status)
        assertEquals(listOf(998), result.skipped)
        assertEquals(listOf(50 to 1, 50 to 2, 20 to 1, 20 to 2), result.runs.map { it.wantedTokens to it.repetition })
        assertEquals(listOf(50, 50, 20, 20), result.runs.map { it.promptTokens })
        val run = result.runs.first()
        assertEquals(3, run.decodeTokens)
        assertEquals(0.3, run.decodeSeconds, 1e-9)
        assertEquals("light", run.thermal)
        assertEquals(1.0, result.loadSeconds ?: 0.0, 1e-9)
        assertEquals(4, result.threads)
        assertEquals(123L, result.residentBytes)
        assertEquals(5, result.total)
        assertEquals(listOf(0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5), published.map { it.done })
        assertEquals(4, engine.calls.count { it == FakeEngine.Call.Reset })
        val generated = engine.calls.filterIsInstance<FakeEngine.Call.Generate>()
        assertEquals(setOf(4), generated.map { it.maxNewTokens }.toSet())
    }

    @Test
    fun `counts as large as they can be fit no context`() {
        val most = run(plan.copy(newTokens = Int.MAX_VALUE))
        assertEquals(plan.promptTokens, most.skipped)
        assertEquals(emptyList<BenchRun>(), most.runs)
        assertEquals(BenchResult.Status.DONE, most.status)
        assertEquals(listOf(Int.MAX_VALUE), run(plan.copy(promptTokens = listOf(20, Int.MAX_VALUE))).skipped)
    }

    @Test
    fun `a long prompt goes in slices, all of which are timed`() {
        val result = run(plan.copy(promptTokens = listOf(300), repetitions = 1))
        assertEquals(300, result.runs.single().promptTokens)
        assertEquals("16 tokens a call, 8 calls a slice", 2, engine.calls.count { it is FakeEngine.Call.Prefill })
        assertEquals("a second of the clock, and one of the last slice", 2.0, result.runs.single().prefillSeconds, 1e-9)
    }

    @Test
    fun `where counts are estimates, the runtime counts the whole prompt`() {
        val estimates =
            object : Tokenizer by WordTokenizer() {
                override val inexactBecause = "a test"

                override fun count(text: String) = TokenCount(FakeEngine.words(text).size / 2, false)
            }
        val result = run(plan.copy(promptTokens = listOf(300), repetitions = 1), estimates)
        assertEquals(0, engine.calls.count { it is FakeEngine.Call.Prefill })
        val text = engine.calls.filterIsInstance<FakeEngine.Call.Generate>().single().text
        assertEquals(FakeEngine.words(text).size, result.runs.single().promptTokens)
    }

    @Test
    fun `sustained for the time that is wanted`() {
        val result = run(plan.copy(repetitions = 1, sustainedSeconds = 70))
        val sustained = result.sustained ?: error("nothing sustained")
        assertEquals("the shortest prompt", 20, sustained.promptTokens)
        assertTrue("${sustained.seconds}", sustained.seconds >= 70)
        val times = sustained.samples.map { it.atSeconds }
        assertEquals(times.sorted(), times)
        assertEquals(1, times.count { it >= 70 })
        val sample = sustained.samples.first()
        assertEquals(0.25, sample.headroom ?: 0.0, 0.0)
        assertEquals(10.0, sample.decodeTokensPerSecond ?: 0.0, 1e-9)
        assertEquals("load, two lengths, two minutes begun", 5, result.total)
        assertEquals(result.total, result.done)
        assertTrue(published.any { it.stage == "sustained, minute 2 of 2" })
    }

    @Test
    fun `nothing fits`() {
        val result = run(plan.copy(promptTokens = listOf(5000), sustainedSeconds = 60))
        assertEquals(BenchResult.Status.DONE, result.status)
        assertEquals(listOf(5000), result.skipped)
        assertNull(result.sustained)
    }

    @Test
    fun `cancelled in a prompt and in an answer`() {
        val inPrompt = run(plan.copy(promptTokens = listOf(300))) { engine.calls.any { it is FakeEngine.Call.Prefill } }
        assertEquals(BenchResult.Status.CANCELLED, inPrompt.status)
        assertEquals(1, engine.calls.count { it is FakeEngine.Call.Prefill })
        assertEquals(0, engine.calls.count { it is FakeEngine.Call.Generate })
        val inAnswer = run { engine.calls.any { it is FakeEngine.Call.Generate } }
        assertEquals(BenchResult.Status.CANCELLED, inAnswer.status)
        assertEquals(emptyList<BenchRun>(), inAnswer.runs)
        assertTrue(FakeEngine.Call.Stop in engine.calls)
    }

    @Test
    fun `failures keep what was measured`() {
        val failure = EngineFailure(EngineFailure.Kind.OUT_OF_MEMORY, 33, "no")
        engine.failOn = { call -> failure.takeIf { call == FakeEngine.Call.Reset && published.last().runs.size == 2 } }
        val result = run()
        assertEquals(BenchResult.Status.FAILED, result.status)
        assertEquals(BenchResult.Error("OUT_OF_MEMORY", 33, "no"), result.error)
        assertEquals(2, result.runs.size)
        assertEquals(result, published.last())
    }

    @Test
    fun `results have the shape of the vectors'`() {
        engine.otherwise = listOf("w") // no decode step: rates that cannot be told
        val error = BenchResult.Error("UNKNOWN", 2, "no")
        val badPlan = BenchResult.Error("BAD_PLAN", null, "no")
        val mine =
            mapOf(
                "done" to run(plan.copy(repetitions = 1, sustainedSeconds = 5)),
                "running" to published.first(),
                "failed" to published.first().copy(status = BenchResult.Status.FAILED, error = error),
                "bad plan" to BenchResult("id", BenchResult.Status.FAILED, host, error = badPlan),
            )
        for (case in vectors("bench.json").objects("results")) {
            val result = mine.getValue(case.name).toJson()
            assertEquals(case.name, case.getAsJsonObject("result").get("status"), result.get("status"))
            assertSameShape(case.name, case.getAsJsonObject("result"), result)
        }
    }

    /** The same keys, and values of the same kinds; null goes with anything. */
    private fun assertSameShape(where: String, expected: JsonElement, found: JsonElement) {
        if (expected.isJsonNull || found.isJsonNull) return
        assertEquals(where, kind(expected), kind(found))
        when {
            expected is JsonObject && "runtimes" !in where -> {
                assertEquals(where, expected.keySet(), found.asJsonObject.keySet())
                for (key in expected.keySet()) {
                    assertSameShape("$where.$key", expected.get(key), found.asJsonObject.get(key))
                }
            }
            expected is JsonArray && !expected.isEmpty && !found.asJsonArray.isEmpty ->
                assertSameShape("$where[]", expected.first(), found.asJsonArray.first())
        }
    }

    private fun kind(json: JsonElement) =
        when {
            !json.isJsonPrimitive -> json.javaClass.simpleName
            json.asJsonPrimitive.isNumber -> "number"
            else -> json.asJsonPrimitive.isString.toString()
        }

    @Test
    fun `a result is written whole`() {
        val folder = File(temporary.root, "bench")
        val result = run(plan.copy(repetitions = 1))
        published.first().writeTo(folder)
        result.writeTo(folder)
        assertEquals(listOf("id-1.json"), folder.list()?.toList())
        assertEquals(result.toJson(), JsonParser.parseString(File(folder, "id-1.json").readText()))
        val file = temporary.newFile()
        assertThrows(IOException::class.java) { result.writeTo(File(file, "bench")) }
        assertFalse(File("id-1.json").exists())
    }
}
