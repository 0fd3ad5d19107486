package org.mlpexport.demo

import android.content.Context
import android.text.format.Formatter
import org.mlpexport.core.BundleException
import org.mlpexport.core.BundleProblem
import org.mlpexport.core.DeviceFit
import org.mlpexport.core.EngineException
import org.mlpexport.core.EngineFailure
import org.mlpexport.core.PromptException
import org.mlpexport.core.PromptProblem
import java.io.IOException

/** What went wrong, as a sentence that says what was found, what was expected and what to do. */
fun Context.sentence(problem: Throwable): String = when (problem) {
    is BundleException -> sentence(problem.problem, problem.detail)
    is EngineException -> sentence(problem.failure)
    is PromptException -> sentence(problem)
    is NoSpaceException -> getString(R.string.problem_no_space, size(problem.needed), size(problem.free))
    is SecurityException -> getString(R.string.problem_permission)
    is IOException -> getString(R.string.problem_copy_failed, problem.message ?: problem.javaClass.simpleName)
    else -> getString(R.string.failure_unknown, problem.message ?: problem.javaClass.simpleName)
}

fun Context.sentence(problem: BundleProblem, detail: String): String {
    val text = when (problem) {
        BundleProblem.NOT_A_BUNDLE -> R.string.problem_not_a_bundle
        BundleProblem.NEWER_FORMAT -> R.string.problem_newer_format
        BundleProblem.DAMAGED_MANIFEST -> R.string.problem_damaged_manifest
        BundleProblem.BAD_NAME -> R.string.problem_bad_name
        BundleProblem.SYMBOLIC_LINK -> R.string.problem_symbolic_link
        BundleProblem.MISSING_FILE -> R.string.problem_missing_file
        BundleProblem.WRONG_SIZE -> R.string.problem_wrong_size
        BundleProblem.WRONG_HASH -> R.string.problem_wrong_hash
        BundleProblem.UNREADABLE -> R.string.problem_unreadable
    }
    val sizes = if (problem == BundleProblem.WRONG_SIZE) SIZES.matchEntire(detail) else null
    if (sizes == null) return getString(text, detail)
    val (file, found, expected) = sizes.destructured
    return getString(R.string.problem_wrong_size_bytes, file, number(found.toLong()), number(expected.toLong()))
}

// "model.pte: 17 of 3000", as core says it.
private val SIZES = Regex("""(.+): (\d{1,18}) of (\d{1,18})""")

fun Context.sentence(reason: DeviceFit.Reason): String {
    fun memory(text: String) = text.toLongOrNull()?.let(::size) ?: text
    val (found, expected) = when (reason.kind) {
        DeviceFit.Kind.TOO_LITTLE_MEMORY, DeviceFit.Kind.LITTLE_FREE_MEMORY ->
            memory(reason.found) to memory(reason.expected)
        DeviceFit.Kind.WRONG_SOC, DeviceFit.Kind.UNKNOWN_SOC -> chip(reason.found) to chip(reason.expected)
        else -> reason.found to reason.expected
    }
    val text = when (reason.kind) {
        DeviceFit.Kind.OTHER_SYSTEM -> R.string.fit_other_system
        DeviceFit.Kind.WRONG_SOC -> R.string.fit_wrong_soc
        DeviceFit.Kind.UNKNOWN_SOC -> R.string.fit_unknown_soc
        DeviceFit.Kind.WRONG_ABI -> R.string.fit_wrong_abi
        DeviceFit.Kind.OLD_RUNTIME -> R.string.fit_old_runtime
        DeviceFit.Kind.MISSING_BACKEND -> R.string.fit_missing_backend
        DeviceFit.Kind.MISSING_LIBRARY -> R.string.fit_missing_library
        DeviceFit.Kind.TOO_LITTLE_MEMORY -> R.string.fit_too_little_memory
        DeviceFit.Kind.LITTLE_FREE_MEMORY -> R.string.fit_little_free_memory
        DeviceFit.Kind.NOT_VERIFIED -> R.string.fit_not_verified
    }
    return getString(text, found.ifEmpty { getString(R.string.fit_nothing) }, expected)
}

fun Context.sentence(failure: EngineFailure): String {
    val text = when (failure.kind) {
        EngineFailure.Kind.MISSING_LIBRARY -> R.string.failure_missing_library
        EngineFailure.Kind.OLD_RUNTIME -> R.string.failure_old_runtime
        EngineFailure.Kind.MISSING_FILE -> R.string.failure_missing_file
        EngineFailure.Kind.NOT_A_PROGRAM -> R.string.failure_not_a_program
        EngineFailure.Kind.MISSING_OPERATOR -> R.string.failure_missing_operator
        EngineFailure.Kind.MISSING_BACKEND -> R.string.failure_missing_backend
        EngineFailure.Kind.WRONG_DELEGATE -> R.string.failure_wrong_delegate
        EngineFailure.Kind.OUT_OF_MEMORY -> R.string.failure_out_of_memory
        EngineFailure.Kind.CONTEXT_FULL -> R.string.failure_context_full
        EngineFailure.Kind.UNKNOWN -> R.string.failure_unknown
    }
    // ExecuTorch prints its codes in hexadecimal, and so do its headers.
    val code = failure.code?.let { "0x%x".format(it) }
    val detail = when {
        code == null -> failure.detail
        failure.detail.isEmpty() -> getString(R.string.failure_code_only, code)
        else -> getString(R.string.failure_code, failure.detail, code)
    }
    return getString(text, detail.trimEnd('.'))
}

fun Context.sentence(problem: PromptException): String = when (problem.problem) {
    PromptProblem.EMPTY -> getString(R.string.prompt_empty)
    PromptProblem.TOO_LONG -> tooLong(problem)
    PromptProblem.SPECIAL_TOKEN -> getString(R.string.prompt_special_token, problem.detail)
    PromptProblem.NO_SYSTEM_ROLE -> getString(R.string.prompt_no_system_role)
}

private fun Context.tooLong(problem: PromptException): String {
    val tokens = problem.tokens
    val context = problem.context
    if (tokens == null || context == null) return getString(R.string.prompt_too_long_unknown)
    // One token at least must be left for the answer.
    val over = tokens.tokens - context + 1
    val text = if (tokens.exact) R.string.prompt_too_long else R.string.prompt_too_long_estimate
    return getString(text, number(tokens.tokens), number(context), number(over))
}

/** "SM8650" as people know it: "Snapdragon 8 Gen 3 (SM8650)". */
fun chip(model: String): String = CHIPS[model.uppercase()]?.let { "$it (${model.uppercase()})" } ?: model

/** "Snapdragon 8 Gen 3" alone, where there is little room. */
fun chipName(model: String): String = CHIPS[model.uppercase()] ?: model

internal fun Context.size(bytes: Long): String = Formatter.formatShortFileSize(this, bytes)

internal fun Context.number(value: Int): String = number(value.toLong())

internal fun Context.number(value: Long): String =
    java.text.NumberFormat.getIntegerInstance(resources.configuration.locales[0]).format(value)

// Names of products, which no language translates.
private val CHIPS = mapOf(
    "SM8450" to "Snapdragon 8 Gen 1",
    "SM8475" to "Snapdragon 8+ Gen 1",
    "SM8550" to "Snapdragon 8 Gen 2",
    "SM8635" to "Snapdragon 8s Gen 3",
    "SM8650" to "Snapdragon 8 Gen 3",
    "SM8750" to "Snapdragon 8 Elite",
    "SM8850" to "Snapdragon 8 Elite Gen 5",
    "S5E9925" to "Exynos 2200",
    "S5E9945" to "Exynos 2400",
    "S5E9955" to "Exynos 2500",
)
