package org.mlpexport.demo

import android.content.Context
import android.graphics.Typeface
import android.text.SpannableStringBuilder
import android.text.Spanned
import android.text.style.BackgroundColorSpan
import android.text.style.BulletSpan
import android.text.style.LeadingMarginSpan
import android.text.style.RelativeSizeSpan
import android.text.style.StyleSpan
import android.text.style.TypefaceSpan
import android.util.TypedValue

/**
 * What models write of Markdown, as styled text: headings, bullets, bold, italic, code. All else stays as it is, and so
 * does a mark whose end is not there (yet).
 */
fun markdown(context: Context, text: String): CharSequence {
    if (text.none { it in "*`#-" }) return text
    return MarkdownText(context).format(text)
}

private val HEADING = Regex("""(#{1,6})\s+(.+?)\s*#*""")
private val BULLET = Regex("""(\s*)[-*+]\s+(.*)""")
private const val CODE = """`([^`]+)`"""
private const val BOLD = """\*\*([^*\s](?:.*?[^*\s])?)\*\*"""
private const val ITALIC = """(?<![\w*])\*([^*\s](?:[^*]*?[^*\s])?)\*(?![\w*])"""
private val INLINE = Regex("$CODE|$BOLD|$ITALIC")

private class MarkdownText(context: Context) {
    private val out = SpannableStringBuilder()
    private val codeColor = context.getColor(R.color.code)
    private val bulletColor = context.getColor(R.color.on_surface_variant)
    private val size = TypedValue.applyDimension(TypedValue.COMPLEX_UNIT_SP, 1f, context.resources.displayMetrics)

    fun format(text: String): CharSequence {
        var inBlock = false
        for ((index, line) in text.split('\n').withIndex()) {
            if (line.trimStart().startsWith("```")) {
                inBlock = !inBlock
                continue
            }
            if (index > 0 && out.isNotEmpty()) out.append('\n')
            if (inBlock) styled(::code) { out.append(line) } else line(line)
        }
        return out
    }

    private fun line(line: String) {
        HEADING.matchEntire(line)?.let { heading ->
            val size = if (heading.groupValues[1].length == 1) 1.25f else 1.1f
            styled({ listOf(StyleSpan(Typeface.BOLD), RelativeSizeSpan(size)) }) { inline(heading.groupValues[2]) }
            return
        }
        val bullet = BULLET.matchEntire(line) ?: return inline(line)
        val depth = bullet.groupValues[1].length / 2
        val inset = LeadingMarginSpan.Standard((depth * 16 * size).toInt())
        val dot = BulletSpan((8 * size).toInt(), bulletColor, (2.5f * size).toInt())
        styled({ listOf(inset, dot) }) { inline(bullet.groupValues[2]) }
    }

    private fun inline(text: String) {
        var from = 0
        for (match in INLINE.findAll(text)) {
            out.append(text, from, match.range.first)
            val (mono, bold, italic) = match.destructured
            when {
                mono.isNotEmpty() -> styled(::code) { out.append(mono) }
                bold.isNotEmpty() -> styled({ listOf(StyleSpan(Typeface.BOLD)) }) { out.append(bold) }
                else -> styled({ listOf(StyleSpan(Typeface.ITALIC)) }) { out.append(italic) }
            }
            from = match.range.last + 1
        }
        out.append(text, from, text.length)
    }

    private fun code(): List<Any> =
        listOf(TypefaceSpan("monospace"), BackgroundColorSpan(codeColor), RelativeSizeSpan(0.9f))

    private fun styled(spans: () -> List<Any>, write: () -> Unit) {
        val start = out.length
        write()
        if (out.length > start) spans().forEach { out.setSpan(it, start, out.length, Spanned.SPAN_EXCLUSIVE_EXCLUSIVE) }
    }
}
