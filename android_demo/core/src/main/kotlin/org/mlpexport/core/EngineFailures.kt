package org.mlpexport.core

import org.mlpexport.core.EngineFailure.Kind

/** What ExecuTorch's error [code] and its [message] mean (runtime/core/error.h of 1.3 to 1.5). */
fun engineFailure(code: Int, message: String): EngineFailure {
    val kind =
        when (code) {
            // LlmModule.load() gives this where the file is no program or the tokenizer cannot be read.
            INVALID_STATE -> if ("not created" in message) Kind.NOT_A_PROGRAM else Kind.UNKNOWN
            // The KV cache is addressed beyond its end.
            INVALID_ARGUMENT -> Kind.CONTEXT_FULL
            OPERATOR_MISSING -> Kind.MISSING_OPERATOR
            NOT_FOUND -> Kind.MISSING_BACKEND
            MEMORY_ALLOCATION_FAILED, OUT_OF_RESOURCES, DELEGATE_MEMORY_ALLOCATION_FAILED -> Kind.OUT_OF_MEMORY
            ACCESS_FAILED -> Kind.MISSING_FILE
            INVALID_PROGRAM, INVALID_EXTERNAL_DATA -> Kind.NOT_A_PROGRAM
            DELEGATE_INVALID_COMPATIBILITY, DELEGATE_INVALID_HANDLE -> Kind.WRONG_DELEGATE
            else -> Kind.UNKNOWN
        }
    return EngineFailure(kind, code, message)
}

private const val INVALID_STATE = 0x02
private const val INVALID_ARGUMENT = 0x12
private const val OPERATOR_MISSING = 0x14
private const val NOT_FOUND = 0x20
private const val MEMORY_ALLOCATION_FAILED = 0x21
private const val ACCESS_FAILED = 0x22
private const val INVALID_PROGRAM = 0x23
private const val INVALID_EXTERNAL_DATA = 0x24
private const val OUT_OF_RESOURCES = 0x25
private const val DELEGATE_INVALID_COMPATIBILITY = 0x30
private const val DELEGATE_MEMORY_ALLOCATION_FAILED = 0x31
private const val DELEGATE_INVALID_HANDLE = 0x32
