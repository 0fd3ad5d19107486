// PackedWeights.keepIn: for an app whose libexecutorch.so was built with this file in it (EXECUTORCH_JNI_CUSTOM_LIBRARY, see
// docs/guides/android.md). The library of the official AAR exports nothing that a second library could call.
#include <jni.h>

#include "packed_cache.h"

extern "C" JNIEXPORT jboolean JNICALL
Java_org_mlpexport_demo_engine_PackedWeights_keepIn(JNIEnv* env, jobject, jstring path) {
  const char* file = env->GetStringUTFChars(path, nullptr);
  if (file == nullptr) return JNI_FALSE;  // out of memory: an exception is pending
  const bool kept = mlp_export::use_packed_cache(file);
  env->ReleaseStringUTFChars(path, file);
  return kept ? JNI_TRUE : JNI_FALSE;
}
