package org.mlpexport.demo

import android.content.Context
import android.os.Build
import android.os.PowerManager
import org.mlpexport.core.BenchHost
import org.mlpexport.core.BenchSensors
import org.mlpexport.core.Device
import java.io.File
import java.io.IOException

/** What Android tells of heat, threads and memory. */
class BenchSensorsOfPhone(context: Context) : BenchSensors {
    private val power = context.getSystemService(PowerManager::class.java)

    override fun thermal(): String {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) return UNKNOWN
        return THERMAL.getOrElse(power.currentThermalStatus) { UNKNOWN }
    }

    override fun headroom(): Double? {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R) return null
        return power.getThermalHeadroom(0).toDouble().takeUnless { it.isNaN() }
    }

    override fun threads(): Int? = try {
        File("/proc/self/status").useLines { lines ->
            lines.firstOrNull { it.startsWith("Threads:") }?.substringAfter(':')?.trim()?.toIntOrNull()
        }
    } catch (_: IOException) {
        null
    }

    override fun memory(): Long = residentBytes()

    companion object {
        private const val UNKNOWN = "unknown"

        // In the order of PowerManager's constants.
        private val THERMAL = listOf("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

        fun host(context: Context, device: Device) = BenchHost(
            appId = context.packageName,
            appVersion = context.packageManager.getPackageInfo(context.packageName, 0).versionName.orEmpty(),
            runtimes = device.runtimes,
            manufacturer = Build.MANUFACTURER,
            model = Build.MODEL,
            socModel = device.socModel,
            abi = device.abis.firstOrNull().orEmpty(),
            android = Build.VERSION.RELEASE,
            sdk = device.sdk,
            cores = Runtime.getRuntime().availableProcessors(),
            totalMemoryBytes = device.totalMemoryBytes,
        )
    }
}
