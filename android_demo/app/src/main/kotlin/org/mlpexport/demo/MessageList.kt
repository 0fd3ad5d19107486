package org.mlpexport.demo

import android.content.Context
import android.graphics.Rect
import android.util.AttributeSet
import android.view.LayoutInflater
import android.view.View
import android.widget.Button
import android.widget.ImageButton
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import org.mlpexport.core.ChatMessage
import kotlin.math.max

/**
 * The messages of a conversation. Stays at the end while an answer grows, unless the reader has scrolled away from it.
 * A view for each message, not a list that recycles them: only so can text in it be selected.
 */
class MessageList(context: Context, attributes: AttributeSet) : ScrollView(context, attributes) {
    sealed interface Row {
        val key: String

        /** "Show earlier messages": a long conversation is not inflated as a whole. */
        data object Earlier : Row {
            override val key = "earlier"
        }

        /** What is above is no longer given to the model. */
        data object Dropped : Row {
            override val key = "dropped"
        }

        data class User(val message: ChatMessage, val editable: Boolean) : Row {
            override val key get() = message.id
        }

        /** [end]: how it ended, if not well; [statistics]: one line. [live]: it is being written. */
        data class Model(
            val message: ChatMessage,
            val live: Boolean,
            val end: String?,
            val statistics: String?,
            val again: Boolean,
            val goOn: Boolean,
        ) : Row {
            override val key get() = message.id
        }
    }

    interface Listener {
        fun onCopy(message: ChatMessage)

        fun onEdit(message: ChatMessage)

        fun onAgain()

        fun onGoOn()

        fun onStatistics(message: ChatMessage)

        fun onEarlier()

        /** The end of the list came into view or left it. */
        fun onEnd(visible: Boolean)
    }

    var listener: Listener? = null

    private val column = LinearLayout(context).apply { orientation = LinearLayout.VERTICAL }
    private var rows = emptyList<Row>()
    private var atEnd = true
    private var focusing = false

    init {
        addView(column, LayoutParams(LayoutParams.MATCH_PARENT, LayoutParams.WRAP_CONTENT))
        isFillViewport = true
    }

    fun show(new: List<Row>) {
        val same = rows.zip(new).takeWhile { (old, row) -> old.key == row.key && old.javaClass == row.javaClass }.size
        for (i in 0 until same) if (rows[i] != new[i]) bind(column.getChildAt(i), new[i])
        if (column.childCount > same) column.removeViews(same, column.childCount - same)
        for (row in new.drop(same)) {
            val view = LayoutInflater.from(context).inflate(layout(row), column, false)
            column.addView(view)
            bind(view, row)
        }
        rows = new
    }

    fun scrollToEnd() {
        follow(true)
        scrollTo(0, end())
    }

    private fun layout(row: Row) = when (row) {
        Row.Earlier -> R.layout.message_earlier
        Row.Dropped -> R.layout.message_divider
        is Row.User -> R.layout.message_user
        is Row.Model -> R.layout.message_model
    }

    private fun bind(view: View, row: Row) {
        when (row) {
            Row.Dropped -> Unit
            Row.Earlier -> view.setOnClickListener { listener?.onEarlier() }
            is Row.User -> bindUser(view, row)
            is Row.Model -> bindModel(view, row)
        }
    }

    private fun bindUser(view: View, row: Row.User) {
        val message = row.message
        view.requireViewById<TextView>(R.id.text).apply {
            text = message.text
            contentDescription = context.getString(R.string.you_said, message.text)
        }
        view.requireViewById<View>(R.id.edit).apply {
            visibility = shown(row.editable)
            setOnClickListener { listener?.onEdit(message) }
        }
        view.requireViewById<View>(R.id.copy).setOnClickListener { listener?.onCopy(message) }
    }

    private fun bindModel(view: View, row: Row.Model) {
        val message = row.message
        view.requireViewById<TextView>(R.id.text).apply {
            visibility = shown(message.text.isNotEmpty())
            text = markdown(context, message.text)
            contentDescription = context.getString(R.string.model_said, text)
        }
        view.requireViewById<TextView>(R.id.end).apply {
            visibility = shown(row.end != null)
            text = row.end
        }
        view.requireViewById<View>(R.id.actions).visibility = shown(!row.live)
        view.requireViewById<View>(R.id.copy).apply {
            visibility = shown(message.text.isNotEmpty())
            setOnClickListener { listener?.onCopy(message) }
        }
        view.requireViewById<ImageButton>(R.id.again).apply {
            visibility = shown(row.again)
            setOnClickListener { listener?.onAgain() }
        }
        view.requireViewById<View>(R.id.go_on).apply {
            visibility = shown(row.goOn)
            setOnClickListener { listener?.onGoOn() }
        }
        view.requireViewById<Button>(R.id.statistics).apply {
            visibility = shown(row.statistics != null)
            text = row.statistics
            setOnClickListener { listener?.onStatistics(message) }
        }
    }

    private fun shown(yes: Boolean) = if (yes) VISIBLE else GONE

    private fun end() = max(0, column.height + paddingTop + paddingBottom - height)

    private fun follow(yes: Boolean) {
        if (atEnd == yes) return
        atEnd = yes
        listener?.onEnd(yes)
    }

    override fun onLayout(changed: Boolean, left: Int, top: Int, right: Int, bottom: Int) {
        super.onLayout(changed, left, top, right, bottom)
        if (atEnd) scrollTo(0, end())
    }

    override fun onScrollChanged(left: Int, top: Int, oldLeft: Int, oldTop: Int) {
        super.onScrollChanged(left, top, oldLeft, oldTop)
        // While a layout is pending the end is not where it will be.
        if (!isLayoutRequested) follow(top >= end() - NEAR * resources.displayMetrics.density)
    }

    /** Touching a message to select from it gives it focus, which shall not scroll to its top. */
    override fun requestChildFocus(child: View?, focused: View?) {
        focusing = isInTouchMode
        super.requestChildFocus(child, focused)
        focusing = false
    }

    override fun computeScrollDeltaToGetChildRectOnScreen(rect: Rect?): Int =
        if (focusing) 0 else super.computeScrollDeltaToGetChildRectOnScreen(rect)

    private companion object {
        const val NEAR = 48 // dp from the end that still count as the end
    }
}
