package org.mlpexport.demo

import org.mlpexport.core.Bundle
import org.mlpexport.demo.engine.ExecuTorchEngine
import org.mlpexport.demo.engine.PackedWeights
import java.io.File
import kotlin.system.exitProcess

/**
 * The app's engine without Android around it, for a JVM of another machine. Arguments: a bundle's folder, a number of
 * tokens, and the whole text that the model shall see. The answer goes to the file of the fourth argument: the runtime
 * prints to standard output.
 */
fun main(arguments: Array<String>) {
    val (folder, tokens, prompt, out) = arguments
    val none = File("/nonexistent")
    val engine = ExecuTorchEngine(Bundle.open(File(folder)), nativeLibraries = "", PackedWeights(none, none))
    engine.load()
    val pieces = mutableListOf<String>()
    val stats = engine.generate(prompt, tokens.toInt(), 0f, pieces::add)
    File(out).writeText("${stats.promptTokens} ${stats.generatedTokens}\n${pieces.joinToString("")}")
    engine.close()
    exitProcess(0) // the runtime's own thread would keep the process
}
