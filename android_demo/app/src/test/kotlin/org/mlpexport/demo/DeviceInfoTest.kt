package org.mlpexport.demo

import android.app.ActivityManager
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.BackendInfo
import org.mlpexport.core.deviceFit
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowBuild
import java.io.File

class DeviceInfoTest : ScreenTest() {
    @Test
    fun theRuntimesDelegatesHaveTheManifestsNames() {
        val device = DeviceInfo(app) { arrayOf("XnnpackBackend", "VulkanBackend") }.read()
        assertEquals(setOf("xnnpack"), device.backends)
        assertEquals(emptyList<String>(), device.missingLibraries)
        assertEquals(35, device.sdk)
    }

    @Test
    fun theBuildTellsTheRuntimesVersionOrElseItsClassesDo() {
        val told = shadowOf(app.packageManager).getInternalMutablePackageInfo(app.packageName).applicationInfo
        val version = "org.mlpexport.runtime.executorch"
        told?.metaData?.putString(version, "1.5.2")
        assertEquals("1.5.2", DeviceInfo(app) { emptyArray() }.read().runtimes["executorch"])
        told?.metaData?.remove(version)
        val byClasses = DeviceInfo(app) { emptyArray() }.read().runtimes["executorch"]
        // react-native-executorch 0.9.3's, which is here, and the AAR that Gradle takes
        assertTrue("$byClasses", byClasses in setOf("1.3", "1.4"))
    }

    @Test
    fun aMissingNativeLibraryIsNoCrash() {
        for (error in listOf(UnsatisfiedLinkError("dlopen failed"), NoClassDefFoundError("no such class"))) {
            val device = DeviceInfo(app) { throw error }.read()
            assertEquals(listOf("libexecutorch.so"), device.missingLibraries)
            TestBundles.write(app.pushed, "smol")
            val bundle = app.bundles.find("smol") ?: error("gone")
            assertFalse(deviceFit(bundle.manifest, device).runs)
        }
    }

    @Test
    fun qnnNeedsItsLibrariesAsFiles() {
        val device = DeviceInfo(app) { arrayOf("XnnpackBackend", "QnnBackend") }.read()
        assertEquals(setOf("xnnpack", "qnn"), device.backends)
        assertTrue("${device.missingLibraries}", "libQnnHtp.so" in device.missingLibraries)
    }

    @Test
    fun qnnNeedsTheStubAndTheSkelOfTheBundlesChip() {
        val folder = File(app.cacheDir, "native").apply { mkdirs() }
        listOf("libQnnHtp.so", "libQnnSystem.so", "libQnnHtpV75Stub.so").forEach { File(folder, it).writeText("so") }
        app.applicationInfo.nativeLibraryDir = folder.path
        val device = DeviceInfo(app) { arrayOf("XnnpackBackend", "QnnBackend") }.read()
        fun missed(name: String, target: String?) =
            device.forBackend(BackendInfo(name, target, emptyMap(), emptyMap())).missingLibraries
        assertEquals(listOf("libQnnHtpV75Skel.so"), missed("qnn", "sm8650"))
        assertEquals(listOf("libQnnHtpV79Stub.so", "libQnnHtpV79Skel.so"), missed("qnn", "SM8750"))
        assertEquals("a chip that this app does not know", emptyList<String>(), missed("qnn", "sm8850"))
        assertEquals(emptyList<String>(), missed("xnnpack", null))
        val broken = device.copy(missingLibraries = listOf("libexecutorch.so"))
        val xnnpack = BackendInfo("xnnpack", null, emptyMap(), emptyMap())
        assertEquals(listOf("libexecutorch.so"), broken.forBackend(xnnpack).missingLibraries)
    }

    @Test
    fun memoryIsOfTheMoment() {
        val manager = shadowOf(app.getSystemService(ActivityManager::class.java))
        val info = DeviceInfo(app) { emptyArray() }
        for (free in listOf(3_000_000_000, 1_000_000_000)) {
            manager.setMemoryInfo(ActivityManager.MemoryInfo().apply { totalMem = 8_000_000_000; availMem = free })
            assertEquals(free, info.read().availableMemoryBytes)
            assertEquals(8_000_000_000, info.read().totalMemoryBytes)
        }
    }

    @Test
    fun theChipIsWhatTheMakerSays() {
        ShadowBuild.setSystemOnChipModel("SM8650")
        assertEquals("SM8650", DeviceInfo.socModel())
        ShadowBuild.setSystemOnChipModel("unknown")
        assertEquals(null, DeviceInfo.socModel())
    }
}
