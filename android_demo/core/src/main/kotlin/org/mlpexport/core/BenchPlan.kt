package org.mlpexport.core

import com.google.gson.JsonArray
import com.google.gson.JsonObject

private const val FORMAT = 1
private val ID = Regex("[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

/** What is to be measured: the extra `bench`, as mlp_export/data/device_bench.schema.json has it. */
data class BenchPlan(
    val id: String, // names the result: ID.json
    val bundle: String, // the folder's name
    val promptTokens: List<Int>,
    val newTokens: Int,
    val repetitions: Int,
    val sustainedSeconds: Int,
) {
    internal fun toJson() =
        JsonObject().also { json ->
            json.addProperty("format", FORMAT)
            json.addProperty("id", id)
            json.addProperty("bundle", bundle)
            json.add("prompt_tokens", JsonArray().also { promptTokens.forEach(it::add) })
            json.addProperty("new_tokens", newTokens)
            json.addProperty("repetitions", repetitions)
            json.addProperty("sustained_seconds", sustainedSeconds)
        }

    companion object {
        /** Throws [JsonException], which names the key. */
        fun parse(text: String): BenchPlan {
            val json = JsonFields(parseJson(text) as? JsonObject ?: throw JsonException("", "expected a JSON object"))
            if (json.long("format", least = 1) != FORMAT.toLong()) throw json.wrong("format", "$FORMAT")
            val plan =
                BenchPlan(
                    id = json.string("id"),
                    bundle = json.string("bundle"),
                    promptTokens = json.ints("prompt_tokens", least = 1),
                    newTokens = json.int("new_tokens", least = 1),
                    repetitions = json.int("repetitions", least = 1),
                    sustainedSeconds = json.int("sustained_seconds", least = 0),
                )
            if (!ID.matches(plan.id)) throw json.wrong("id", "letters, digits, - and _")
            if (plan.promptTokens.isEmpty() || plan.promptTokens.toSet().size < plan.promptTokens.size) {
                throw json.wrong("prompt_tokens", "lengths that differ, at least one")
            }
            json.refuseOthers()
            return plan
        }

        /** The id of a plan that may be bad otherwise, so that its result can say why; null where that is bad too. */
        fun idOf(text: String): String? =
            try {
                (parseJson(text) as? JsonObject)?.let { JsonFields(it).string("id") }?.takeIf(ID::matches)
            } catch (_: JsonException) {
                null
            }
    }
}
