package org.mlpexport.demo

import android.content.Context
import android.util.AttributeSet
import android.view.View
import android.view.ViewGroup

/** Children in lines that wrap, as text does: chips and buttons fit large fonts and narrow windows. */
class WrapLayout @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    ViewGroup(context, attributes) {

    private val gap = (8 * resources.displayMetrics.density).toInt()
    private val shown get() = (0 until childCount).map(::getChildAt).filter { it.visibility != View.GONE }

    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        val width = MeasureSpec.getSize(widthMeasureSpec)
        val most = MeasureSpec.makeMeasureSpec(width, MeasureSpec.AT_MOST)
        shown.forEach { measureChild(it, most, heightMeasureSpec) }
        val height = place(width) { _, _, _ -> }
        setMeasuredDimension(width, resolveSize(height, heightMeasureSpec))
    }

    override fun onLayout(changed: Boolean, left: Int, top: Int, right: Int, bottom: Int) {
        val width = right - left
        val mirrored = layoutDirection == View.LAYOUT_DIRECTION_RTL
        place(width) { child, x, y ->
            val start = if (mirrored) width - x - child.measuredWidth else x
            child.layout(start, y, start + child.measuredWidth, y + child.measuredHeight)
        }
    }

    /** Calls [put] with each child's place; returns the height of all lines. */
    private fun place(width: Int, put: (View, Int, Int) -> Unit): Int {
        var x = 0
        var y = 0
        var line = 0
        shown.forEach { child ->
            if (x > 0 && x + child.measuredWidth > width) {
                x = 0
                y += line + gap
                line = 0
            }
            put(child, x, y)
            x += child.measuredWidth + gap
            line = maxOf(line, child.measuredHeight)
        }
        return y + line
    }
}
