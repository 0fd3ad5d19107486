package org.mlpexport.core

import com.google.gson.JsonArray
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.io.File

/** The file [name] of tests/vectors, whose cases Python runs as well. */
internal fun vectors(name: String): JsonObject =
    JsonParser.parseString(File(System.getProperty("vectors"), name).readText()).asJsonObject

internal fun JsonObject.objects(key: String): List<JsonObject> = getAsJsonArray(key).map { it.asJsonObject }

internal fun JsonObject.strings(key: String): List<String> = getAsJsonArray(key).strings()

internal fun JsonArray.strings(): List<String> = map { it.asString }

internal fun JsonObject.stringOrNull(key: String): String? = get(key)?.takeIf { !it.isJsonNull }?.asString

internal val JsonObject.name: String get() = get("name").asString
