package org.mlpexport.demo

import android.app.Activity
import android.os.Build
import android.view.View
import android.view.WindowInsets
import android.widget.Toolbar

/** What all screens share: edge to edge with insets, a toolbar with Back, the application's container. */
abstract class Screen : Activity() {
    val app get() = application as MlpApplication

    /** Shows [layout], whose root has the id `screen` and which may have a Toolbar of the id `toolbar`. */
    protected fun show(layout: Int, back: Boolean = true) {
        setContentView(layout)
        findViewById<Toolbar>(R.id.toolbar)?.let { toolbar ->
            setActionBar(toolbar)
            if (back) {
                toolbar.setNavigationIcon(R.drawable.ic_back)
                toolbar.setNavigationContentDescription(R.string.back)
                toolbar.setNavigationOnClickListener { finish() }
            }
        }
        drawBehindBars(requireViewById(R.id.screen))
    }

    /** Before Android 11 insets do not tell the keyboard from the bars: there the system keeps the screen off them. */
    private fun drawBehindBars(root: View) {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) return
        @Suppress("DEPRECATION") // Android 15 does it without
        window.setDecorFitsSystemWindows(false)
        root.setOnApplyWindowInsetsListener { view, insets ->
            val types = WindowInsets.Type.systemBars() or WindowInsets.Type.displayCutout() or WindowInsets.Type.ime()
            val edges = insets.getInsets(types)
            view.setPadding(edges.left, edges.top, edges.right, edges.bottom)
            WindowInsets.CONSUMED
        }
    }
}
