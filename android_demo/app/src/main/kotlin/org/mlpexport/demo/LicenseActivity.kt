package org.mlpexport.demo

import android.content.Context
import android.content.Intent
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.TextView

/** Shows a bundle's license: before the first use with Accept and Decline, later to read it again. */
class LicenseActivity : Screen() {
    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val bundle = intent.getStringExtra(BUNDLE)?.let(app.bundles::find)
        if (bundle == null) {
            finish()
            return
        }
        show(R.layout.activity_license)
        val model = bundle.manifest.model
        val name = model.id.substringAfterLast('/')
        title = getString(R.string.license_title, name)
        val asks = !app.licenses.accepted(bundle)
        val text = Licenses.text(bundle)
        requireViewById<TextView>(R.id.license_intro).text = getString(
            if (asks) R.string.license_intro else R.string.license_read,
            name,
            model.license ?: getString(R.string.license_unnamed),
        )
        requireViewById<View>(R.id.license_noncommercial).visibility =
            if (isNoncommercial(model.license)) View.VISIBLE else View.GONE
        requireViewById<TextView>(R.id.license_text).text = text ?: getString(R.string.license_missing)
        requireViewById<View>(R.id.license_actions).visibility = if (asks) View.VISIBLE else View.GONE
        requireViewById<Button>(R.id.license_decline).setOnClickListener { finish() }
        requireViewById<Button>(R.id.license_accept).apply {
            // What cannot be read cannot be agreed to.
            isEnabled = text != null
            setOnClickListener {
                app.licenses.accept(bundle)
                setResult(RESULT_OK)
                finish()
            }
        }
    }

    companion object {
        private const val BUNDLE = "bundle"

        fun intent(context: Context, bundle: String): Intent =
            Intent(context, LicenseActivity::class.java).putExtra(BUNDLE, bundle)

        /** FAIR NC, CC BY-NC, "noncommercial research", ... */
        internal fun isNoncommercial(license: String?): Boolean =
            license != null && NONCOMMERCIAL.containsMatchIn(license)

        private val NONCOMMERCIAL = Regex("""(?i)\bnc\b|non-?commercial""")
    }
}
