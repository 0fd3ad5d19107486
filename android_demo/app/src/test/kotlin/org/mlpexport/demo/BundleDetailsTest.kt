package org.mlpexport.demo

import com.google.gson.JsonArray
import com.google.gson.JsonNull
import com.google.gson.JsonObject
import org.junit.Assert.assertEquals
import org.junit.Test
import org.mlpexport.core.Bundle
import org.robolectric.RuntimeEnvironment

class BundleDetailsTest : ScreenTest() {
    private val limit = "the template takes a system message only inside the first message"

    /** What the details say of the chat template, the lines behind their heading. */
    private fun chat(name: String, heading: String = "Chat template", edit: (JsonObject) -> Unit): List<String> {
        val bundle = Bundle.open(TestBundles.write(app.pushed, name, edit = edit))
        val entry = BundleEntry.Usable(BundleSource.PUSHED, bundle, HashState.Unchecked)
        val sections = BundleDetails(app).text(entry, packedBytes = 0).split("\n\n").map { it.lines() }
        return sections.single { it.first() == heading }.drop(1)
    }

    private fun JsonObject.limit(vararg sentences: String) =
        add("chat_limits", JsonArray().apply { sentences.forEach(::add) })

    @Test
    fun theDetailsSayHowMuchOfTheChatTemplateIsCarried() {
        assertEquals(listOf("Carried as a whole"), chat("whole") {})
        assertEquals(listOf("Carried in part:", limit, "b"), chat("part") { it.limit(limit, "b") })
        val none = listOf("The chat template is not carried, so the model continues plain text:", limit)
        assertEquals(none, chat("none") { json -> json.add("chat", JsonNull.INSTANCE).also { json.limit(limit) } })
        val noTemplate = listOf("The model has no chat template, and continues plain text.")
        assertEquals(noTemplate, chat("plain") { it.add("chat", JsonNull.INSTANCE) })
        RuntimeEnvironment.setQualifiers("+de")
        assertEquals(listOf("Zum Teil übernommen:", limit), chat("teil", "Chat-Vorlage") { it.limit(limit) })
    }
}
