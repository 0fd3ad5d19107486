plugins {
    id("com.android.application")
    kotlin("android")
}

fun setting(name: String): String = providers.gradleProperty(name).get()

// The key of releases, which CI takes out of a secret. Without it a release has the machine's debug key: such an APK does
// not install over one of another machine.
val keystore: String? = providers.environmentVariable("MLP_KEYSTORE").orNull

android {
    namespace = setting("applicationId")
    compileSdk = setting("targetSdk").toInt()
    defaultConfig {
        applicationId = setting("applicationId")
        minSdk = setting("minSdk").toInt()
        targetSdk = setting("targetSdk").toInt()
        versionCode = setting("versionCode").toInt()
        versionName = setting("versionName")
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        manifestPlaceholders["executorchVersion"] = setting("executorchVersion")
        manifestPlaceholders["qairtVersion"] = ""
    }

    // Which of ExecuTorch's libraries is inside.
    flavorDimensions += "runtime"
    productFlavors {
        create("cpu") {
            dimension = "runtime"
            ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
        }
        create("qnn") {
            dimension = "runtime"
            ndk { abiFilters += "arm64-v8a" } // there is no Hexagon in an emulator
            manifestPlaceholders["qairtVersion"] = setting("qnnRuntimeVersion")
        }
    }

    signingConfigs {
        if (keystore != null) {
            create("release") {
                storeFile = file(keystore)
                storePassword = providers.environmentVariable("MLP_KEYSTORE_PASSWORD").get()
                keyAlias = providers.environmentVariable("MLP_KEY_ALIAS").get()
                keyPassword = storePassword
            }
        }
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles("proguard-rules.pro")
            signingConfig = signingConfigs.getByName(if (keystore != null) "release" else "debug")
        }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    testOptions {
        unitTests {
            isIncludeAndroidResources = true
            all {
                it.systemProperty("vectors", rootDir.resolve("../tests/vectors").path)
                it.systemProperty("screenshots", layout.buildDirectory.dir("screenshots").get().asFile.path)
            }
        }
    }
}

// The DSP loads its half by path: the libraries have to be files on the phone.
androidComponents {
    onVariants(selector().withFlavor("runtime" to "qnn")) { it.packaging.jniLibs.useLegacyPackaging.set(true) }
}

kotlin {
    compilerOptions {
        jvmTarget.set(org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_17)
    }
}

dependencies {
    implementation(project(":core"))
    implementation("com.google.code.gson:gson:${setting("gsonVersion")}")

    "cpuImplementation"("org.pytorch:executorch-android:${setting("executorchVersion")}")
    "qnnImplementation"("org.pytorch:executorch-android-qnn:${setting("executorchVersion")}")
    // At least the QAIRT that compiled the bundle: an older one refuses its context binary.
    "qnnImplementation"("com.qualcomm.qti:qnn-runtime:${setting("qnnRuntimeVersion")}")

    testImplementation(testFixtures(project(":core")))
    testImplementation("junit:junit:${setting("junitVersion")}")
    testImplementation("org.robolectric:robolectric:${setting("robolectricVersion")}")

    androidTestImplementation("junit:junit:${setting("junitVersion")}")
    androidTestImplementation("androidx.test:runner:${setting("androidxTestRunnerVersion")}")
}
