package org.mlpexport.demo

import android.content.Intent
import android.view.View
import android.view.WindowManager
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.EngineFailure
import org.mlpexport.core.FakeEngine
import org.mlpexport.core.GenerationSettings
import org.robolectric.Robolectric
import org.robolectric.android.controller.ActivityController
import java.io.File

class BenchActivityTest : ScreenTest() {
    private var controller: ActivityController<BenchActivity>? = null

    @After
    fun close() {
        app.engine.resume()
        controller?.pause()?.stop()?.destroy()
    }

    private fun plan(bundle: String = "smol", id: String = "run-1") =
        """{"format": 1, "id": "$id", "bundle": "$bundle", "prompt_tokens": [64, 128, 4096], "new_tokens": 3,
            "repetitions": 2, "sustained_seconds": 0}"""

    private fun start(plan: String?): BenchActivity {
        val intent = Intent()
        plan?.let { intent.putExtra("bench", it) }
        return Robolectric.buildActivity(BenchActivity::class.java, intent).also { controller = it }.setup().get()
    }

    private fun result(id: String = "run-1"): JsonObject? =
        File(app.getExternalFilesDir("bench"), "$id.json").takeIf { it.exists() }
            ?.let { JsonParser.parseString(it.readText()).asJsonObject }

    private fun status(id: String = "run-1") = result(id)?.get("status")?.asString

    private fun waitFor(status: String, id: String = "run-1"): JsonObject {
        waitUntil(status) { status(id) == status }
        return result(id) ?: error("gone")
    }

    private fun error(result: JsonObject) = result.getAsJsonObject("error")

    @Test
    fun aPlanIsMeasuredAndWritten() {
        TestBundles.write(app.pushed, "smol")
        val activity = start(plan())
        val result = waitFor("done")
        waitUntil("the screen") { texts(activity).any { it == "Done" } }
        assertEquals("[4096]", result.get("skipped").toString())
        val runs = result.getAsJsonArray("runs").map { it.asJsonObject }
        assertEquals(listOf(64, 64, 128, 128), runs.map { it.get("wanted_tokens").asInt })
        assertEquals(listOf(1, 2, 1, 2), runs.map { it.get("repetition").asInt })
        assertEquals("SM8650", result.getAsJsonObject("device").get("soc_model").asString)
        assertEquals("1.3.1", result.getAsJsonObject("app").getAsJsonObject("runtimes").get("executorch").asString)
        assertEquals(5, result.getAsJsonObject("progress").get("done").asInt)
        assertTrue("measured on an engine of its own", app.engine.calls.last() is FakeEngine.Call.Close)
        val left = File(app.getExternalFilesDir("bench"), "").list().orEmpty().toList()
        assertEquals("no temporary file is left", listOf("run-1.json"), left)
        screenshot(activity, "bench")
    }

    @Test
    fun theScreenStaysOnWhileItRuns() {
        TestBundles.write(app.pushed, "smol")
        app.engine.pause()
        val activity = start(plan())
        fun keepsOn() = activity.window.attributes.flags and WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON
        waitFor("running")
        assertNotEquals(0, keepsOn())
        app.engine.resume()
        waitFor("done")
        waitUntil("the screen may go off") { keepsOn() == 0 }
    }

    @Test
    fun theOldModelIsGoneBeforeAnotherIsMeasured() {
        TestBundles.write(app.pushed, "smol")
        val old = app.engine
        old.pause()
        val bundle = app.bundles.find("smol") ?: error("gone")
        val request = ModelHost.Request(bundle, Task.ASK.turns("a", "b"), GenerationSettings(), "chat/1")
        assertTrue(app.models.submit(request))
        waitUntil("work") { old.calls.isNotEmpty() }
        val measured = FakeEngine(context = 2048)
        var closedFirst: Boolean? = null
        measured.failOn = {
            if (it is FakeEngine.Call.Load) closedFirst = FakeEngine.Call.Close in old.calls
            null
        }
        app.engine = measured
        start(plan())
        Thread.sleep(300) // in which it would load
        idle()
        assertEquals(null, closedFirst)
        measured.pause()
        measured.step()
        old.resume()
        waitFor("running")
        waitUntil("the load") { closedFirst != null }
        assertEquals(true, closedFirst)
        assertFalse("nothing beside a measurement", app.models.submit(request))
        measured.resume()
        waitFor("done")
        waitUntil("the model can be used again") { app.models.submit(request) }
    }

    @Test
    fun stopLeavesACancelledResult() {
        TestBundles.write(app.pushed, "smol")
        app.engine.pause()
        val activity = start(plan())
        waitFor("running")
        activity.requireViewById<View>(R.id.bench_stop).performClick()
        app.engine.resume()
        waitFor("cancelled")
    }

    @Test
    fun leavingTheScreenCancels() {
        TestBundles.write(app.pushed, "smol")
        app.engine.pause()
        start(plan()).finish()
        waitFor("running")
        controller?.pause()?.stop()?.destroy()
        controller = null
        app.engine.resume()
        waitFor("cancelled")
    }

    @Test
    fun aSecondPlanWaitsForItsOwnStart() {
        TestBundles.write(app.pushed, "smol")
        app.engine.pause()
        start(plan())
        waitFor("running")
        controller?.newIntent(Intent().putExtra("bench", plan(id = "run-2")))
        assertEquals(null, status("run-2"))
        app.engine.resume()
        waitFor("done")
        waitUntil("the screen") { texts(controller?.get() ?: error("no screen")).any { it == "Done" } }
        controller?.newIntent(Intent().putExtra("bench", plan(id = "run-2")))
        waitFor("done", "run-2")
    }

    @Test
    fun aMissingBundleIsAResultWithTheReason() {
        start(plan("nothing"))
        val error = error(waitFor("failed"))
        assertEquals("NOT_A_BUNDLE", error.get("kind").asString)
    }

    @Test
    fun aDamagedBundleIsAResultWithTheReason() {
        File(TestBundles.write(app.pushed, "smol"), "model.pte").writeBytes(ByteArray(3000))
        start(plan())
        val error = error(waitFor("failed"))
        assertEquals("WRONG_HASH", error.get("kind").asString)
        assertTrue(app.engine.calls.isEmpty())
    }

    @Test
    fun aBundleForAnotherChipIsAResultWithTheReason() {
        TestBundles.writeQnn(app.pushed, "smol")
        app.phone = TestBundles.PIXEL
        start(plan())
        val error = error(waitFor("failed"))
        assertEquals("WRONG_SOC", error.get("kind").asString)
        assertTrue("Tensor G3" in error.get("message").asString)
    }

    @Test
    fun anEngineThatFailsIsAResultWithItsNumber() {
        TestBundles.write(app.pushed, "smol")
        app.engine.failOn = { EngineFailure(EngineFailure.Kind.OUT_OF_MEMORY, 0x21, "no room") }
        val activity = start(plan())
        val error = error(waitFor("failed"))
        assertEquals("OUT_OF_MEMORY", error.get("kind").asString)
        assertEquals(0x21, error.get("code").asInt)
        waitUntil("the sentence") { texts(activity).any { "not enough free memory" in it && "error 0x21" in it } }
    }

    @Test
    fun aBadPlanIsAResultWithTheReason() {
        for ((text, id) in listOf(
            plan().replace("\"new_tokens\": 3", "\"new_tokens\": 0") to "run-1",
            "{" to "bad-plan",
            plan(id = "../../evil") to "bad-plan",
        )) {
            start(text)
            assertEquals(text, "BAD_PLAN", error(waitFor("failed", id)).get("kind").asString)
        }
        assertFalse(File(app.getExternalFilesDir("bench"), "../../evil.json").exists())
    }

    @Test
    fun withoutAPlanTheScreenSaysHowToStart() {
        assertShows(start(null), "mlp-export bench BUNDLE --device")
    }
}
