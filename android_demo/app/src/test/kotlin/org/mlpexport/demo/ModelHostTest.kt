package org.mlpexport.demo

import android.content.ComponentCallbacks2
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.AnswerEnd
import org.mlpexport.core.Bundle
import org.mlpexport.core.FakeEngine
import org.mlpexport.core.FakeEngine.Call
import org.mlpexport.core.GenerationSettings
import org.mlpexport.core.Role
import org.mlpexport.core.Turn

class ModelHostTest : ChatScreenTest() {
    private val host get() = app.models

    private fun bundle(name: String): Bundle {
        app.writeBundle(name)
        return requireNotNull(app.bundles.find(name))
    }

    private fun request(bundle: Bundle, text: String = "Hello") =
        ModelHost.Request(bundle, listOf(Turn(Role.USER, text)), GenerationSettings(), "test")

    private fun answer(request: ModelHost.Request): ModelHost.State {
        assertTrue(host.submit(request))
        waitUntil("the answer") { !host.busy }
        return host.state
    }

    @Test
    fun statesComeInOrder() {
        val seen = mutableListOf<String>()
        host.observe { seen += it.javaClass.simpleName }
        val request = request(bundle("demo"))
        val end = answer(request)
        assertEquals("Yes.", (end as ModelHost.State.Done).answer.text)
        assertEquals(listOf("Idle", "Loading", "Working", "Done"), seen.distinct())
        assertEquals(request, host.request)
    }

    @Test
    fun aClosedObserverHearsNothing() {
        var heard = 0
        host.observe { heard++ }.close()
        answer(request(bundle("demo")))
        assertEquals(1, heard)
    }

    @Test
    fun unloadSaysWhenTheMemoryIsFree() {
        val request = request(bundle("demo"))
        engine.pause()
        assertTrue(host.submit(request))
        waitUntil("work") { engine.calls.isNotEmpty() }
        var closed: Boolean? = null
        host.unload { closed = Call.Close in engine.calls }
        idle()
        assertEquals("the engine is still in a call", null, closed)
        engine.resume()
        waitUntil("then") { closed != null }
        assertEquals(true, closed)
    }

    @Test
    fun nothingIsTakenWhileReserved() {
        val request = request(bundle("demo"))
        val first = host.reserve()
        val second = host.reserve()
        assertFalse(host.submit(request))
        first.close()
        assertFalse(host.submit(request))
        assertEquals(ModelHost.State.Idle, host.state)
        second.close()
        assertTrue(answer(request) is ModelHost.State.Done)
    }

    @Test
    fun oneRequestAtATime() {
        val bundle = bundle("demo")
        engine.pause()
        assertTrue(host.submit(request(bundle)))
        assertFalse(host.submit(request(bundle, "Me too")))
        engine.resume()
        waitUntil("the answer") { !host.busy }
        assertEquals(1, generated().size)
    }

    @Test
    fun anotherBundleReplacesTheLoadedOne() {
        val first = FakeEngine()
        app.engine = first
        answer(request(bundle("demo")))
        answer(request(bundle("demo")))
        assertEquals("loaded once", 1, first.calls.count { it == Call.Load })
        app.engine = FakeEngine()
        answer(request(bundle("other")))
        assertEquals("freed before the other loads", Call.Close, first.calls.last())
        assertEquals(listOf("demo", "other"), app.made.map { it.folder.name })
    }

    @Test
    fun unloadStopsAndFrees() {
        val bundle = bundle("demo")
        engine.script(*Array(40) { " a" })
        engine.pause()
        host.submit(request(bundle))
        host.unload(bundle)
        engine.resume()
        waitUntil("the stop") { !host.busy }
        waitUntil("the close") { engine.calls.contains(Call.Close) }
        assertEquals(AnswerEnd.STOPPED, (host.state as ModelHost.State.Done).answer.end)
    }

    @Test
    fun unloadOfAnotherBundleDoesNothing() {
        val other = bundle("other")
        answer(request(bundle("demo")))
        host.unload(other)
        answer(request(bundle("demo")))
        assertFalse(engine.calls.contains(Call.Close))
    }

    @Test
    fun memoryIsGivenBackInTheBackground() {
        answer(request(bundle("demo")))
        app.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN)
        answer(request(bundle("demo")))
        assertFalse("the screen is off, no more", engine.calls.contains(Call.Close))
        app.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_BACKGROUND)
        waitUntil("the close") { engine.calls.contains(Call.Close) }
    }

    @Test
    fun aBusyModelIsNotGivenBack() {
        engine.pause()
        host.submit(request(bundle("demo")))
        app.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_BACKGROUND)
        engine.resume()
        waitUntil("the answer") { !host.busy }
        assertEquals(AnswerEnd.COMPLETE, (host.state as ModelHost.State.Done).answer.end)
        assertFalse(engine.calls.contains(Call.Close))
    }
}
