package org.mlpexport.demo

import android.app.Activity
import android.view.View
import android.widget.Button
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.demo.TestBundles.model
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import java.io.File

class LicenseActivityTest : ScreenTest() {
    private var controller: ActivityController<LicenseActivity>? = null

    @After
    fun close() {
        controller?.pause()?.stop()?.destroy()
    }

    private fun start(bundle: String): LicenseActivity {
        val intent = LicenseActivity.intent(app, bundle)
        return Robolectric.buildActivity(LicenseActivity::class.java, intent).also { controller = it }.setup().get()
    }

    private fun isShown(activity: Activity, id: Int) = activity.requireViewById<View>(id).isShown

    @Test
    fun itIsAskedForAndThenOnlyShown() {
        TestBundles.write(app.pushed, "smol")
        val activity = start("smol")
        assertShows(activity, "SmolLM2-135M-Instruct is published under Apache-2.0. Please read it before")
        assertFalse(isShown(activity, R.id.license_noncommercial))
        activity.requireViewById<Button>(R.id.license_accept).performClick()
        assertEquals(Activity.RESULT_OK, shadowOf(activity).resultCode)
        controller?.pause()?.stop()?.destroy()
        val again = start("smol")
        assertFalse(isShown(again, R.id.license_actions))
        assertShows(again, "Version 2.0, January 2004")
    }

    @Test
    fun decliningAcceptsNothing() {
        TestBundles.write(app.pushed, "smol")
        val activity = start("smol")
        activity.requireViewById<Button>(R.id.license_decline).performClick()
        assertTrue(activity.isFinishing)
        assertEquals(Activity.RESULT_CANCELED, shadowOf(activity).resultCode)
        assertFalse(app.licenses.accepted(app.bundles.find("smol") ?: error("gone")))
    }

    @Test
    fun aBundleThatIsGoneEndsTheScreen() {
        assertTrue(start("nothing").isFinishing)
    }

    private fun picture(name: String, qualifiers: String = "", fontScale: Float = 1f) {
        RuntimeEnvironment.setQualifiers("+$qualifiers")
        RuntimeEnvironment.setFontScale(fontScale)
        TestBundles.write(app.pushed, "pro", mapOf("LICENSE" to FAIR.toByteArray())) {
            it.model.addProperty("id", "facebook/MobileLLM-Pro")
            it.model.addProperty("license", "FAIR NC")
        }
        val activity = start("pro")
        assertTrue(isShown(activity, R.id.license_noncommercial))
        screenshot(activity, name)
    }

    @Test
    fun pictureLight() = picture("license")

    @Test
    fun pictureDarkGerman() = picture("license-dark-german", "de-night")

    @Test
    fun pictureLargeFont() = picture("license-large-font", fontScale = 2f)

    private companion object {
        val FAIR = """
            FAIR Noncommercial Research License

            “Noncommercial Research Uses” means noncommercial research use cases related to research, development,
            education, processing, or analysis and in each case, is not primarily intended for commercial advantage or
            monetary compensation to you or others.
        """.trimIndent()
    }
}
