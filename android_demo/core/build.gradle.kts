plugins {
    kotlin("jvm")
    `java-test-fixtures`
}

val gsonVersion: String by project
val junitVersion: String by project

kotlin {
    compilerOptions {
        jvmTarget.set(org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_17)
        allWarningsAsErrors.set(true)
    }
}

java {
    sourceCompatibility = JavaVersion.VERSION_17
    targetCompatibility = JavaVersion.VERSION_17
}

dependencies {
    implementation("com.google.code.gson:gson:$gsonVersion")
    testFixturesImplementation("com.google.code.gson:gson:$gsonVersion")
    testImplementation("junit:junit:$junitVersion")
}

tasks.test {
    // Cases that Python's tests run as well.
    systemProperty("vectors", rootDir.resolve("../tests/vectors").path)
}
