package org.mlpexport.demo

import android.content.Context
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.SeekBar
import android.widget.TextView
import org.mlpexport.core.GenerationSettings

/** System prompt, temperature and longest answer of one bundle. What is valid is kept when the screen is left. */
class SettingsActivity : Screen() {
    private val name get() = intent.getStringExtra(EXTRA_BUNDLE).orEmpty()
    private val manifest by lazy { app.bundles.find(name)?.manifest }
    private val system by lazy { requireViewById<EditText>(R.id.system) }
    private val temperature by lazy { requireViewById<SeekBar>(R.id.temperature) }
    private val maxTokens by lazy { requireViewById<EditText>(R.id.max_tokens) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        show(R.layout.activity_settings)
        actionBar?.subtitle = name
        explain()
        temperature.setOnSeekBarChangeListener(
            object : SeekBar.OnSeekBarChangeListener {
                override fun onProgressChanged(bar: SeekBar, progress: Int, fromUser: Boolean) = showTemperature()

                override fun onStartTrackingTouch(bar: SeekBar) = Unit

                override fun onStopTrackingTouch(bar: SeekBar) = Unit
            },
        )
        requireViewById<Button>(R.id.reset).setOnClickListener {
            app.settings.forget(name)
            fill(app.settings[name])
        }
        if (savedInstanceState == null) fill(app.settings[name])
        showTemperature()
    }

    override fun onPause() {
        super.onPause()
        val before = app.settings[name]
        val default = manifest?.chat?.defaultSystem.orEmpty()
        app.settings[name] = GenerationSettings(
            systemPrompt = system.text.toString().trim().takeIf { it != default },
            temperature = temperature.progress / STEPS,
            maxNewTokens = validTokens() ?: before.maxNewTokens,
        )
    }

    private fun explain() {
        val chat = manifest?.chat
        if (chat?.takesSystem != true) {
            system.visibility = View.GONE
            requireViewById<TextView>(R.id.system_about).setText(R.string.system_prompt_none)
        }
        system.hint = getString(R.string.system_prompt_hint)
        val context = manifest?.context ?: return
        requireViewById<TextView>(R.id.max_tokens_about).text = getString(R.string.max_tokens_about, number(context))
        maxTokens.setOnFocusChangeListener { _, focused -> if (!focused) complain() }
    }

    private fun fill(settings: GenerationSettings) {
        system.setText(settings.systemPrompt ?: manifest?.chat?.defaultSystem)
        temperature.progress = Math.round(settings.temperature * STEPS)
        maxTokens.setText(minOf(settings.maxNewTokens, manifest?.context ?: settings.maxNewTokens).toString())
        maxTokens.error = null
    }

    private fun showTemperature() {
        val value = "%.1f".format(resources.configuration.locales[0], temperature.progress / STEPS)
        requireViewById<TextView>(R.id.temperature_value).text = value
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) temperature.stateDescription = value
    }

    private fun validTokens() = maxTokens.text.toString().toIntOrNull()?.takeIf { it in 1..(manifest?.context ?: it) }

    private fun complain() {
        val context = manifest?.context ?: return
        maxTokens.error = if (validTokens() == null) getString(R.string.max_tokens_wrong, number(context)) else null
    }

    companion object {
        private const val EXTRA_BUNDLE = "bundle"
        private const val STEPS = 10f // of the slider for 1

        fun intent(context: Context, bundle: String): Intent =
            Intent(context, SettingsActivity::class.java).putExtra(EXTRA_BUNDLE, bundle)
    }
}
