package org.mlpexport.core

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

/** The cases that Python runs too: chat rendering, stop strings, halves of characters, device fit, error codes. */
class VectorsTest {
    @Test
    fun `chat rendering`() {
        val vectors = vectors("chat.json")
        for (case in vectors.objects("cases")) {
            val format = chatFormat(vectors.getAsJsonObject("formats").getAsJsonObject(case.get("format").asString))
            val turns = case.objects("turns").map(::turn)
            val generate = case.get("generate").asBoolean
            val problem = case.stringOrNull("problem")
            if (problem == null) {
                assertEquals(case.name, case.get("text").asString, format.compose(turns, generate))
            } else {
                val thrown = assertThrows(PromptException::class.java) { format.compose(turns, generate) }
                assertEquals(case.name, PromptProblem.NO_SYSTEM_ROLE, thrown.problem)
            }
        }
    }

    private fun turn(json: JsonObject) =
        Turn(Role.valueOf(json.get("role").asString.uppercase()), json.get("content").asString)

    /** A format as the manifest's reader takes it, so that absent keys mean the same here. */
    private fun chatFormat(json: JsonObject): ChatFormat {
        val manifest = JsonParser.parseString(vectors("manifests.json").objects("cases").first().get("manifest").asString)
        manifest.asJsonObject.add("chat", json)
        return checkNotNull(Manifest.parse("$manifest").chat)
    }

    @Test
    fun `stop strings`() {
        for (case in vectors("stop_strings.json").objects("cases")) {
            val stops = StopStrings(case.strings("stop"))
            assertEquals(case.name, case.strings("visible"), case.strings("pieces").map(stops::push))
            assertEquals(case.name, case.get("stopped").asBoolean, stops.found)
            assertEquals(case.name, case.get("rest").asString, stops.flush())
        }
    }

    @Test
    fun `UTF-8 in chunks`() {
        for (case in vectors("utf8.json").objects("cases")) {
            val assembler = Utf8Assembler()
            assertEquals(case.name, case.strings("texts"), case.strings("chunks").map { assembler.push(bytes(it)) })
            assertEquals(case.name, case.get("rest").asString, assembler.finish())
        }
    }

    private fun bytes(hex: String) = hex.chunked(2).map { it.toInt(16).toByte() }.toByteArray()

    @Test
    fun `halves of surrogate pairs`() {
        for (case in vectors("utf8.json").objects("surrogates")) {
            val assembler = SurrogateAssembler()
            assertEquals(case.name, case.strings("texts"), case.strings("pieces").map(assembler::push))
            assertEquals(case.name, case.get("rest").asString, assembler.finish())
        }
    }

    @Test
    fun `device fit`() {
        for (case in vectors("device_fit.json").objects("cases")) {
            val fit = deviceFit(Manifest.parse(case.get("manifest").toString()), device(case.getAsJsonObject("device")))
            assertEquals(case.name, case.objects("reasons").map(::reason), fit.reasons)
            assertEquals(case.name, case.objects("warnings").map(::reason), fit.warnings)
            assertEquals(case.name, case.objects("reasons").isEmpty(), fit.runs)
        }
    }

    private fun device(json: JsonObject) =
        Device(
            socModel = json.stringOrNull("soc_model"),
            abis = json.strings("abis"),
            sdk = json.get("sdk").asInt,
            totalMemoryBytes = json.get("total_memory_bytes").asLong,
            availableMemoryBytes = json.get("available_memory_bytes").asLong,
            runtimes = json.getAsJsonObject("runtimes").entrySet().associate { it.key to it.value.asString },
            backends = json.strings("backends").toSet(),
            missingLibraries = json.strings("missing_libraries"),
        )

    private fun reason(json: JsonObject) =
        DeviceFit.Reason(
            DeviceFit.Kind.valueOf(json.get("kind").asString),
            json.get("found").asString,
            json.get("expected").asString,
        )

    @Test
    fun `error codes`() {
        val cases = vectors("error_codes.json").objects("cases")
        assertTrue(cases.size > 20)
        for (case in cases) {
            val failure = engineFailure(case.get("code").asInt, case.get("message").asString)
            assertEquals(case.name, case.get("kind").asString, failure.kind.name)
            assertEquals(case.name, case.get("kept_code").asInt, failure.code)
            assertEquals(case.name, case.get("message").asString, failure.detail)
        }
    }
}
