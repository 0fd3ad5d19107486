package org.mlpexport.demo

import android.app.Activity
import android.app.AlertDialog
import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.Looper
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import org.junit.Assert.assertTrue
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.GraphicsMode
import org.robolectric.shadows.ShadowDialog
import java.io.File

/** What tests of screens share: waiting, reading what is shown, pictures. */
@RunWith(RobolectricTestRunner::class)
@Config(application = BundleTestApplication::class, qualifiers = "w411dp-h914dp-xhdpi")
@GraphicsMode(GraphicsMode.Mode.NATIVE)
abstract class ScreenTest {
    protected val app get() = RuntimeEnvironment.getApplication() as BundleTestApplication

    protected fun waitUntil(what: String, condition: () -> Boolean) {
        val end = System.nanoTime() + 15_000_000_000
        while (true) {
            shadowOf(Looper.getMainLooper()).idle()
            if (condition()) return
            check(System.nanoTime() < end) { "timed out waiting for: $what" }
            Thread.sleep(2)
        }
    }

    /** All texts that a person sees, from top to bottom. */
    protected fun texts(root: View): List<String> = when {
        root.visibility != View.VISIBLE -> emptyList()
        root is TextView -> listOf(root.text.toString()).filter { it.isNotEmpty() }
        root is ViewGroup -> (0 until root.childCount).flatMap { texts(root.getChildAt(it)) }
        else -> emptyList()
    }

    protected fun texts(activity: Activity) = texts(activity.window.decorView)

    protected fun assertShows(activity: Activity, text: String) =
        assertTrue("“$text” in ${texts(activity)}", texts(activity).any { text in it })

    protected fun dialog(): AlertDialog? = (ShadowDialog.getLatestDialog() as? AlertDialog)?.takeIf { it.isShowing }

    protected fun dialogText() =
        dialog()?.findViewById<TextView>(android.R.id.message)?.text?.toString() ?: error("no dialog")

    /** Draws the screen as it would be on the phone, if a folder for pictures is given. */
    protected fun screenshot(activity: Activity, name: String) {
        val folder = System.getProperty("screenshots") ?: return
        shadowOf(Looper.getMainLooper()).idle()
        val view = activity.window.decorView
        val bitmap = Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888)
        view.draw(Canvas(bitmap))
        val file = File(folder, "$name.png").apply { parentFile?.mkdirs() }
        file.outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
    }
}
