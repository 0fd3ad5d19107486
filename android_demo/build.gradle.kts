// Versions are in settings.gradle.kts and gradle.properties.
plugins {
    id("com.android.application") apply false
    kotlin("android") apply false
    kotlin("jvm") apply false
}
