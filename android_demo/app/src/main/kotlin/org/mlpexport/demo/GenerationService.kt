package org.mlpexport.demo

import android.app.ForegroundServiceStartNotAllowedException
import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.app.Service
import android.content.Context
import android.content.Intent
import android.content.pm.ServiceInfo
import android.graphics.drawable.Icon
import android.os.Build
import android.os.IBinder
import android.os.PowerManager
import android.os.SystemClock
import java.io.Closeable
import java.text.NumberFormat
import java.util.concurrent.TimeUnit

/**
 * Keeps the process alive and the CPU awake while [ModelHost] works, with a notification that shows how far it is and
 * has Stop.
 */
class GenerationService : Service() {
    private val models get() = (application as MlpApplication).models
    private val notifications get() = getSystemService(NotificationManager::class.java)
    private var following: Closeable? = null
    private var shown = 0L

    /** A foreground service keeps the process, not the CPU: with the screen off a prefill would stand still. */
    private val wakeLock by lazy {
        getSystemService(PowerManager::class.java).newWakeLock(PowerManager.PARTIAL_WAKE_LOCK, "$packageName:work")
            .apply { setReferenceCounted(false) }
    }

    override fun onBind(intent: Intent): IBinder? = null

    override fun onCreate() {
        super.onCreate()
        val channel = NotificationChannel(CHANNEL, getString(R.string.work_channel), NotificationManager.IMPORTANCE_LOW)
        notifications.createNotificationChannel(channel)
    }

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        if (intent?.action == ACTION_STOP) models.stop()
        // Always, and first: the system ends an app whose foreground service shows no notification in time.
        if (!comeToForeground()) stopSelf()
        if (following == null) following = models.observe(::update)
        return START_NOT_STICKY // a killed answer is marked as interrupted; nothing goes on without the user
    }

    private fun comeToForeground(): Boolean {
        val notification = notification(models.state)
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) {
            startForeground(NOTIFICATION, notification)
            return true
        }
        return try {
            startForeground(NOTIFICATION, notification, ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC)
            true
        } catch (refused: IllegalStateException) { // today's six hours are used up
            if (!isRefusal(refused)) throw refused
            false
        }
    }

    private fun update(state: ModelHost.State) {
        if (!models.busy) {
            wakeLock.release()
            stopForeground(STOP_FOREGROUND_REMOVE)
            stopSelf()
            return
        }
        if (!wakeLock.isHeld) wakeLock.acquire(WAKE_MILLIS)
        val now = SystemClock.elapsedRealtime()
        if (now - shown < NOTIFY_MILLIS) return // the system drops notifications that come faster
        shown = now
        notifications.notify(NOTIFICATION, notification(state))
    }

    private fun notification(state: ModelHost.State): Notification {
        val builder = Notification.Builder(this, CHANNEL)
            .setSmallIcon(R.drawable.ic_notification)
            .setColor(getColor(R.color.primary))
            .setOngoing(true)
            .setOnlyAlertOnce(true)
            .setContentIntent(openApp())
            .addAction(stopAction())
        val request = models.request ?: return builder.setContentTitle(getString(R.string.app_name)).build()
        builder.setContentTitle(request.bundle.folder.name)
        val numbers = NumberFormat.getIntegerInstance()
        when {
            state is ModelHost.State.Loading ->
                builder.setContentText(getString(R.string.work_loading, request.bundle.folder.name))
                    .setProgress(0, 0, true)

            state is ModelHost.State.Working && state.text.isEmpty() && state.total > 0 ->
                builder.setContentText(
                    getString(
                        R.string.work_reading,
                        numbers.format(state.prefilled.toLong()),
                        numbers.format(state.total.toLong()),
                    ),
                ).setProgress(state.total, state.prefilled, false)

            else -> builder.setContentText(getString(R.string.work_answering)).setProgress(0, 0, true)
        }
        return builder.build()
    }

    /** As the launcher does: the task comes to the front as it was. */
    private fun openApp(): PendingIntent? =
        packageManager.getLaunchIntentForPackage(packageName)?.let {
            PendingIntent.getActivity(this, 0, it, PendingIntent.FLAG_IMMUTABLE)
        }

    private fun stopAction(): Notification.Action {
        val intent = Intent(this, GenerationService::class.java).setAction(ACTION_STOP)
        val pending = PendingIntent.getService(this, 0, intent, PendingIntent.FLAG_IMMUTABLE)
        val icon = Icon.createWithResource(this, R.drawable.ic_stop)
        return Notification.Action.Builder(icon, getString(R.string.stop), pending).build()
    }

    /** The system's limit of six hours a day: it ends the app whose service does not end within seconds. */
    override fun onTimeout(startId: Int, fgsType: Int) {
        models.stop()
        letGo()
        stopSelf()
    }

    override fun onDestroy() {
        letGo()
        super.onDestroy()
    }

    private fun letGo() {
        following?.close()
        following = null
        wakeLock.release()
    }

    companion object {
        const val CHANNEL = "work"
        const val NOTIFICATION = 1
        const val ACTION_STOP = "org.mlpexport.demo.STOP"
        private const val NOTIFY_MILLIS = 1000L

        // As long as the system lets the service run.
        private val WAKE_MILLIS = TimeUnit.HOURS.toMillis(6)

        /** Starts the service whenever [models] begins to work. */
        fun follow(context: Context, models: ModelHost) {
            models.observe { state ->
                if (state !is ModelHost.State.Loading) return@observe
                try {
                    context.startForegroundService(Intent(context, GenerationService::class.java))
                } catch (refused: IllegalStateException) {
                    // From the background (Android 12): the work goes on for as long as the system lets the process.
                    if (!isRefusal(refused)) throw refused
                }
            }
        }

        private fun isRefusal(problem: IllegalStateException) =
            Build.VERSION.SDK_INT < Build.VERSION_CODES.S || problem is ForegroundServiceStartNotAllowedException
    }
}
