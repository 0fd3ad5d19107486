package org.mlpexport.demo

import android.content.Context
import android.util.AttributeSet
import android.view.ContextThemeWrapper
import android.view.ViewGroup
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView

/** A card above the input with something to decide: what happened, and the ways on. */
class BannerView(context: Context, attributes: AttributeSet) : LinearLayout(context, attributes) {
    /** [id] tells banners apart, so that one that is shown already is not announced again. */
    data class Banner(val id: String, val text: String, val error: Boolean, val actions: List<Action>) {
        val labels get() = actions.map { it.label }

        data class Action(val label: Int, val run: () -> Unit)
    }

    private var shown: Banner? = null

    init {
        orientation = VERTICAL
        inflate(context, R.layout.banner, this)
        val side = resources.getDimensionPixelSize(R.dimen.card_padding)
        setPadding(side, side, side, side / 4)
    }

    fun show(banner: Banner?) {
        visibility = if (banner == null) GONE else VISIBLE
        if (banner == null || banner.id == shown?.id && banner.text == shown?.text && banner.labels == shown?.labels) {
            if (banner == null) shown = null
            return
        }
        shown = banner
        setBackgroundResource(if (banner.error) R.drawable.card_error else R.drawable.card)
        val color = context.getColor(if (banner.error) R.color.on_error_container else R.color.on_surface)
        requireViewById<TextView>(R.id.banner_text).apply {
            text = banner.text
            setTextColor(color)
        }
        val actions = requireViewById<ViewGroup>(R.id.banner_actions)
        actions.removeAllViews()
        for (action in banner.actions) {
            val button = Button(ContextThemeWrapper(context, R.style.Button_Text), null, 0, R.style.Button_Text)
            button.setText(action.label)
            if (banner.error) button.setTextColor(color)
            button.setOnClickListener { action.run() }
            actions.addView(button)
        }
    }
}
