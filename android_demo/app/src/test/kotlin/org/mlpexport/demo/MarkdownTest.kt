package org.mlpexport.demo

import android.graphics.Typeface
import android.text.Spanned
import android.text.style.BulletSpan
import android.text.style.StyleSpan
import android.text.style.TypefaceSpan
import org.junit.Assert.assertEquals
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.annotation.Config

@RunWith(RobolectricTestRunner::class)
@Config(application = ChatTestApplication::class)
class MarkdownTest {
    /** The text with its spans written as tags. */
    private fun shown(text: String): String {
        val styled = markdown(RuntimeEnvironment.getApplication(), text)
        if (styled !is Spanned) return styled.toString()
        val marks = styled.getSpans(0, styled.length, Any::class.java).mapNotNull { span ->
            val name = when {
                span is StyleSpan && span.style == Typeface.BOLD -> "b"
                span is StyleSpan && span.style == Typeface.ITALIC -> "i"
                span is TypefaceSpan -> "c"
                span is BulletSpan -> "li"
                else -> return@mapNotNull null
            }
            Triple(styled.getSpanStart(span), styled.getSpanEnd(span), name)
        }
        // Outer marks first; of two on the same text the line's.
        val outer = marks.sortedWith(compareBy({ it.first }, { -it.second }, { it.third != "li" }))
        return buildString {
            for (i in 0..styled.length) {
                outer.filter { it.second == i }.reversed().forEach { append("</${it.third}>") }
                outer.filter { it.first == i }.forEach { append("<${it.third}>") }
                if (i < styled.length) append(styled[i])
            }
        }
    }

    @Test
    fun inline() {
        assertEquals("a <b>bold</b> and <i>slanted</i> word, <c>x = 1</c>", shown("a **bold** and *slanted* word, `x = 1`"))
        assertEquals("<b>two words</b> <b>more</b>", shown("**two words** **more**"))
        assertEquals("<c>**not bold**</c>", shown("`**not bold**`"))
    }

    @Test
    fun lines() {
        assertEquals("<b>Title</b>\ntext", shown("## Title\ntext"))
        assertEquals("<li>one</li>\n<li><b>two</b></li>", shown("- one\n* **two**"))
        assertEquals("1. one\n2. two", shown("1. one\n2. two"))
    }

    @Test
    fun blocks() {
        assertEquals("see\n<c>val a = b * c * d</c>\ndone", shown("see\n```kotlin\nval a = b * c * d\n```\ndone"))
        assertEquals("an open one\n<c># no title</c>", shown("an open one\n```\n# no title"))
    }

    @Test
    fun whatIsNoMarkStays() {
        for (text in listOf("", "plain", "2 * 3 * 4", "a*b*c", "** no", "half **bold", "half `code", "#hashtag", "-5 degrees", "\n\n")) {
            assertEquals(text, shown(text))
        }
    }

    @Test
    fun growingTextNeverFails() {
        val text = "# A\n\n- **b** `c` *d*\n```\ncode\n```\nend"
        for (length in 0..text.length) shown(text.take(length))
    }
}
