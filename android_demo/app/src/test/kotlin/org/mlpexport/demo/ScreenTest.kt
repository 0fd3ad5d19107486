package org.mlpexport.demo

import android.app.Activity
import android.app.AlertDialog
import android.widget.TextView
import org.junit.Assert.assertTrue
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowDialog

/** What tests of screens share: waiting, reading what is shown, pictures. */
@RunWith(RobolectricTestRunner::class)
@Config(application = BundleTestApplication::class, qualifiers = "w411dp-h914dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
abstract class ScreenTest {
    protected val app get() = RuntimeEnvironment.getApplication() as BundleTestApplication

    protected fun assertShows(activity: Activity, text: String) =
        assertTrue("“$text” in ${texts(activity)}", texts(activity).any { text in it })

    protected fun dialog(): AlertDialog? = (ShadowDialog.getLatestDialog() as? AlertDialog)?.takeIf { it.isShowing }

    protected fun dialogText() =
        dialog()?.findViewById<TextView>(android.R.id.message)?.text?.toString() ?: error("no dialog")
}
