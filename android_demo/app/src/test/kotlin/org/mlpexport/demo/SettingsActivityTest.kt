package org.mlpexport.demo

import android.app.Activity
import android.view.View
import android.widget.EditText
import android.widget.SeekBar
import android.widget.TextView
import com.google.gson.JsonNull
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Test
import org.mlpexport.core.GenerationSettings
import org.robolectric.Robolectric
import org.robolectric.android.controller.ActivityController
import org.robolectric.annotation.Config

class SettingsActivityTest : ChatScreenTest() {
    private fun openSettings(bundle: String = "demo"): ActivityController<SettingsActivity> {
        val intent = SettingsActivity.intent(app, bundle)
        return track(Robolectric.buildActivity(SettingsActivity::class.java, intent)).setup().visible()
    }

    private fun field(activity: Activity, id: Int) = activity.findViewById<EditText>(id)

    @Test
    fun whatIsSetIsKept() {
        val controller = openSettings()
        val activity = controller.get()
        field(activity, R.id.system).setText(" Be brief. ")
        activity.findViewById<SeekBar>(R.id.temperature).progress = 7
        assertEquals("0.7", activity.findViewById<TextView>(R.id.temperature_value).text.toString())
        field(activity, R.id.max_tokens).setText("99")
        controller.pause()
        assertEquals(GenerationSettings("Be brief.", 0.7f, 99), app.settings["demo"])
        assertEquals("of this bundle alone", GenerationSettings(), app.settings["other"])
        assertEquals("Be brief.", field(openSettings().get(), R.id.system).text.toString())
    }

    @Test
    fun untouchedSettingsStayTheDefaults() {
        openSettings().pause()
        assertEquals(GenerationSettings(), app.settings["demo"])
    }

    @Test
    fun anImpossibleLengthIsSaidAndNotKept() {
        for (wrong in listOf("", "0", "129", "9999999")) {
            val controller = openSettings()
            val activity = controller.get()
            field(activity, R.id.max_tokens).requestFocus()
            field(activity, R.id.max_tokens).setText(wrong)
            field(activity, R.id.system).requestFocus()
            assertNotNull("an error for “$wrong”", field(activity, R.id.max_tokens).error)
            controller.pause()
            assertEquals("after “$wrong”", 512, app.settings["demo"].maxNewTokens)
        }
        val activity = openSettings().get()
        field(activity, R.id.max_tokens).setText("128")
        field(activity, R.id.system).requestFocus()
        assertNull(field(activity, R.id.max_tokens).error)
    }

    @Test
    fun reset() {
        app.settings["demo"] = GenerationSettings("Be brief.", 0.7f, 99)
        val controller = openSettings()
        controller.get().findViewById<View>(R.id.reset).performClick()
        assertEquals("512", field(controller.get(), R.id.max_tokens).text.toString())
        controller.pause()
        assertEquals(GenerationSettings(), app.settings["demo"])
    }

    @Test
    fun rotationKeepsWhatIsNotSavedYet() {
        val controller = openSettings()
        field(controller.get(), R.id.max_tokens).setText("99")
        controller.get().findViewById<SeekBar>(R.id.temperature).progress = 3
        controller.recreate()
        assertEquals("99", field(controller.get(), R.id.max_tokens).text.toString())
        assertEquals("0.3", controller.get().findViewById<TextView>(R.id.temperature_value).text.toString())
    }

    @Test
    fun aTemplateWithoutSystemMessagesHasNoField() {
        TestBundles.write(app.root, "plain") {
            it.getAsJsonObject("chat").apply {
                add("system_prefix", JsonNull.INSTANCE)
                add("system_suffix", JsonNull.INSTANCE)
            }
        }
        val activity = openSettings("plain").get()
        assertEquals(View.GONE, field(activity, R.id.system).visibility)
        assertEquals(
            activity.getString(R.string.system_prompt_none),
            activity.findViewById<TextView>(R.id.system_about).text.toString(),
        )
    }

    @Test
    fun pictures() = screenshot(openSettings().get(), "settings")

    @Test
    @Config(qualifiers = "+night", fontScale = 2f)
    fun darkAndLarge() = screenshot(openSettings().get(), "settings-dark-large-font")
}
