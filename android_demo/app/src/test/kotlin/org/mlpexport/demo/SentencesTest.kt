package org.mlpexport.demo

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.BundleProblem
import org.mlpexport.core.DeviceFit
import org.mlpexport.core.EngineFailure
import org.mlpexport.core.PromptException
import org.mlpexport.core.PromptProblem
import org.mlpexport.core.TokenCount
import org.robolectric.RuntimeEnvironment

/** Every problem has a sentence of its own, in both languages, with nothing left to fill in. */
class SentencesTest : ScreenTest() {
    private fun all(): List<String> {
        val failures = EngineFailure.Kind.entries.map { app.sentence(EngineFailure(it, 0x12, "XYZ")) }
        return BundleProblem.entries.map { app.sentence(it, "XYZ") } +
            DeviceFit.Kind.entries.map { app.sentence(DeviceFit.Reason(it, "1000", "2000")) } + failures +
            PromptProblem.entries.map { app.sentence(PromptException(it, "XYZ", TokenCount(3000, true), 2048)) }
    }

    @Test
    fun eachProblemHasItsOwnSentenceInBothLanguages() {
        val english = all()
        RuntimeEnvironment.setQualifiers("+de")
        val german = all()
        for (sentences in listOf(english, german)) {
            assertEquals("no two are the same", sentences.size, sentences.toSet().size)
            for (sentence in sentences) {
                assertFalse(sentence, '%' in sentence)
                assertTrue("a whole sentence: $sentence", sentence.endsWith("."))
            }
        }
        english.zip(german).forEach { (one, other) -> assertNotEquals(one, other) }
    }

    @Test
    fun anUnknownCodeKeepsItsNumber() {
        val sentence = app.sentence(EngineFailure(EngineFailure.Kind.UNKNOWN, 5000, ""))
        assertTrue(sentence, "(error 0x1388)" in sentence)
    }

    @Test
    fun aPromptThatIsTooLongSaysByHowMuch() {
        val exact = app.sentence(PromptException(PromptProblem.TOO_LONG, "", TokenCount(2048, true), 2048))
        assertTrue(exact, "has 2,048 tokens, and the model’s context holds 2,048." in exact)
        assertTrue(exact, "Shorten it by at least 1 token" in exact)
        val estimate = app.sentence(PromptException(PromptProblem.TOO_LONG, "", TokenCount(3000, false), 2048))
        assertTrue(estimate, "about 3,000" in estimate)
    }

    @Test
    fun chipsHaveTheNamesThatPeopleKnow() {
        assertEquals("Snapdragon 8 Elite (SM8750)", chip("sm8750"))
        assertEquals("Tensor G3", chip("Tensor G3"))
    }

    @Test
    fun noncommercialLicensesAreKnown() {
        for (license in listOf("FAIR NC", "fair-noncommercial-research-license", "cc-by-nc-4.0", "Non-Commercial")) {
            assertTrue(license, LicenseActivity.isNoncommercial(license))
        }
        for (license in listOf("Apache-2.0", "MIT", "ncsa", null)) {
            assertFalse("$license", LicenseActivity.isNoncommercial(license))
        }
    }
}
