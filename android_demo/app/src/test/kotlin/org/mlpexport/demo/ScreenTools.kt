package org.mlpexport.demo

import android.app.Activity
import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.Looper
import android.view.View
import android.view.ViewConfiguration
import android.view.ViewGroup
import android.widget.TextView
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowSystemClock
import java.io.File
import java.util.concurrent.TimeUnit

/** Runs what waits for the main thread. */
internal fun idle() = shadowOf(Looper.getMainLooper()).idle()

internal fun waitUntil(what: String, seconds: Long = 20, condition: () -> Boolean) {
    val end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds)
    while (true) {
        idle()
        if (condition()) return
        check(System.nanoTime() < end) { "timed out waiting for: $what" }
        Thread.sleep(2)
    }
}

/** Lets the time pass in which a second tap belongs to the first. */
internal fun afterDoubleTap() =
    ShadowSystemClock.advanceBy(ViewConfiguration.getDoubleTapTimeout() + 1L, TimeUnit.MILLISECONDS)

/** Has the files of the bundle [name] checked and its license accepted, if it is there. */
internal fun MlpApplication.admit(name: String) {
    val bundle = bundles.find(name) ?: return
    library.refresh()
    waitUntil("the check of $name", seconds = 60) {
        library.snapshot.item(name)?.let { it.isChecked && it.entry == bundles.entry(name) } == true
    }
    licenses.accept(bundle)
}

/** All texts that a person sees, from top to bottom. */
internal fun texts(root: View): List<String> = when {
    root.visibility != View.VISIBLE -> emptyList()
    root is TextView -> listOf(root.text.toString()).filter { it.isNotEmpty() }
    root is ViewGroup -> (0 until root.childCount).flatMap { texts(root.getChildAt(it)) }
    else -> emptyList()
}

internal fun texts(activity: Activity) = texts(activity.window.decorView)

/** Tells an Activity that was made anew how the request of the one before it ended. */
@Suppress("DEPRECATION") // receiveResult wants the request to be of this very object
internal fun decline(activity: Activity, requestCode: Int) {
    shadowOf(activity).callOnActivityResult(requestCode, Activity.RESULT_CANCELED, null)
    idle()
}

/** Texts of a conversation's bubbles, from top to bottom. */
internal fun bubbles(activity: Activity): List<String> {
    val column = activity.findViewById<ViewGroup>(R.id.messages).getChildAt(0) as ViewGroup
    return (0 until column.childCount).mapNotNull { column.getChildAt(it).findViewById<TextView>(R.id.text) }
        .filter { it.visibility == View.VISIBLE }.map { it.text.toString() }
}

/** Draws the screen as it would be on the phone, half as large, if a folder for pictures is given. */
internal fun screenshot(activity: Activity, name: String, root: View = activity.window.decorView) {
    idle()
    val folder = System.getProperty("screenshots") ?: return
    val bitmap = Bitmap.createBitmap(root.width, root.height, Bitmap.Config.ARGB_8888)
    root.draw(Canvas(bitmap))
    val half = Bitmap.createScaledBitmap(bitmap, root.width / 2, root.height / 2, true)
    val file = File(folder, "$name.png").apply { parentFile?.mkdirs() }
    file.outputStream().use { half.compress(Bitmap.CompressFormat.PNG, 100, it) }
}
