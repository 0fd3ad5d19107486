package org.mlpexport.core

import com.google.gson.JsonArray
import com.google.gson.JsonElement
import com.google.gson.JsonNull
import com.google.gson.JsonObject
import com.google.gson.JsonParseException
import com.google.gson.JsonPrimitive
import com.google.gson.Strictness
import com.google.gson.stream.JsonReader
import com.google.gson.stream.JsonToken
import com.google.gson.stream.MalformedJsonException
import java.io.EOFException
import java.io.IOException
import java.io.StringReader
import java.math.BigDecimal

/** JSON that is not what was expected; [key] is where, "" for the whole text. */
class JsonException(val key: String, val problem: String) : Exception(if (key.isEmpty()) problem else "$key: $problem")

/** The value of a JSON text. Throws [JsonException] for what RFC 8259 does not allow, and for a key that is twice. */
internal fun parseJson(text: String): JsonElement {
    if (text.startsWith('\uFEFF')) throw JsonException("", "this is no JSON: it begins with a byte order mark")
    val reader = JsonReader(StringReader(text))
    reader.strictness = Strictness.STRICT
    try {
        val value = reader.readElement("")
        if (reader.peek() != JsonToken.END_DOCUMENT) throw JsonException("", "there is more after the JSON value")
        return value
    } catch (exception: IOException) {
        throw JsonException("", notJson(exception))
    } catch (exception: JsonParseException) {
        throw JsonException("", notJson(exception))
    } catch (exception: IllegalStateException) {
        throw JsonException("", notJson(exception))
    } catch (exception: NumberFormatException) {
        throw JsonException("", notJson(exception))
    }
}

private fun notJson(exception: Exception): String {
    val message = exception.message.orEmpty().lineSequence().first().take(200)
    val isJson = exception !is MalformedJsonException && exception !is EOFException
    return if (isJson) "this cannot be read: $message" else "this is no JSON: $message"
}

private fun JsonReader.readElement(key: String): JsonElement =
    when (peek()) {
        JsonToken.BEGIN_OBJECT -> readObject(key)
        JsonToken.BEGIN_ARRAY -> {
            val array = JsonArray()
            beginArray()
            while (hasNext()) array.add(readElement("$key[${array.size()}]"))
            endArray()
            array
        }
        JsonToken.STRING -> JsonPrimitive(nextString())
        JsonToken.NUMBER -> JsonPrimitive(number(key, nextString()))
        JsonToken.BOOLEAN -> JsonPrimitive(nextBoolean())
        JsonToken.NULL -> {
            nextNull()
            JsonNull.INSTANCE
        }
        else -> throw JsonException(key, "a value is missing")
    }

private fun JsonReader.readObject(key: String): JsonObject {
    val result = JsonObject()
    beginObject()
    while (hasNext()) {
        val name = nextName()
        val inner = if (key.isEmpty()) name else "$key.$name"
        if (result.has(name)) throw JsonException(inner, "the key is there twice")
        result.add(name, readElement(inner))
    }
    endObject()
    return result
}

/** A number; those that only an attack would write ("1e999999999") are refused before anything computes with them. */
private fun number(key: String, text: String): BigDecimal {
    val value = text.toBigDecimalOrNull()
    if (value == null || text.length > 64 || value.scale() !in -64..400) {
        throw JsonException(key, "${text.take(40)} is no number that is read here")
    }
    return value
}

/** An object of a JSON tree with the keys that were read, so that others can be refused. */
internal class JsonFields(private val json: JsonObject, private val path: String = "") {
    private val read = HashSet<String>()

    val keys: Set<String> get() = json.keySet()

    fun has(key: String) = json.has(key)

    /** What [read] makes of a key that may be absent or null. */
    fun <T> ifThere(key: String, read: (String) -> T): T? =
        if (has(key) && !value(key).isJsonNull) read(key) else null

    fun string(key: String): String = stringOrNull(key) ?: throw wrong(key, "text")

    fun stringOrNull(key: String): String? {
        val value = value(key)
        if (value.isJsonNull) return null
        if (value !is JsonPrimitive || !value.isString) throw wrong(key, "text or null")
        return value.asString
    }

    /** The value that [values] has for the text. */
    fun <T> oneOf(key: String, values: Map<String, T>): T =
        values[string(key)] ?: throw wrong(key, values.keys.joinToString(" or "))

    fun boolean(key: String): Boolean {
        val value = value(key)
        if (value !is JsonPrimitive || !value.isBoolean) throw wrong(key, "true or false")
        return value.asBoolean
    }

    fun int(key: String, least: Int): Int = long(key, least.toLong(), Int.MAX_VALUE.toLong()).toInt()

    fun long(key: String, least: Long, most: Long = Long.MAX_VALUE): Long = integer(key, value(key), least, most)

    fun doubleOrNull(key: String): Double? {
        val value = value(key)
        if (value.isJsonNull) return null
        if (value !is JsonPrimitive || !value.isNumber) throw wrong(key, "a number or null")
        return value.asDouble
    }

    fun fields(key: String): JsonFields = fieldsOrNull(key) ?: throw wrong(key, "an object")

    fun fieldsOrNull(key: String): JsonFields? {
        val value = value(key)
        if (value.isJsonNull) return null
        if (value !is JsonObject) throw wrong(key, "an object or null")
        return JsonFields(value, at(key))
    }

    /** The objects of a list. */
    fun list(key: String): List<JsonFields> =
        array(key).mapIndexed { index, value ->
            JsonFields(value as? JsonObject ?: throw wrong("$key[$index]", "an object"), at("$key[$index]"))
        }

    fun strings(key: String): List<String> =
        array(key).mapIndexed { index, value ->
            if (value !is JsonPrimitive || !value.isString) throw wrong("$key[$index]", "text")
            value.asString
        }

    fun ints(key: String, least: Int): List<Int> =
        array(key).mapIndexed { index, value ->
            integer("$key[$index]", value, least.toLong(), Int.MAX_VALUE.toLong()).toInt()
        }

    /** An object of texts. */
    fun stringMap(key: String): Map<String, String> {
        val inner = fields(key)
        return inner.keys.associateWith(inner::string)
    }

    /** Throws for a key that nothing asked for. */
    fun refuseOthers() {
        val other = keys.firstOrNull { it !in read } ?: return
        throw JsonException(at(other), "the key is not known")
    }

    fun wrong(key: String, expected: String): JsonException {
        val found = json.get(key)?.toString() ?: return JsonException(at(key), "expected $expected")
        return JsonException(at(key), "is ${found.take(60)}, expected $expected")
    }

    private fun array(key: String): JsonArray = value(key) as? JsonArray ?: throw wrong(key, "a list")

    private fun value(key: String): JsonElement {
        read += key
        return json.get(key) ?: throw JsonException(at(key), "is missing")
    }

    private fun integer(key: String, value: JsonElement, least: Long, most: Long): Long {
        val range = if (most == Long.MAX_VALUE) "an integer of at least $least" else "an integer from $least to $most"
        if (value !is JsonPrimitive || !value.isNumber) throw wrong(key, range)
        val number = value.asBigDecimal
        val long = runCatching { number.longValueExact() }.getOrNull()
        if (long == null || long !in least..most) throw JsonException(at(key), "is $number, expected $range")
        return long
    }

    private fun at(key: String) = if (path.isEmpty()) key else "$path.$key"
}
