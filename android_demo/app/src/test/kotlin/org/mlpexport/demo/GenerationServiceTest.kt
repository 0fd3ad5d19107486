package org.mlpexport.demo

import android.app.Notification
import android.app.NotificationManager
import android.content.Intent
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test
import org.mlpexport.core.AnswerEnd
import org.robolectric.Robolectric
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowPowerManager

class GenerationServiceTest : ChatScreenTest() {
    private fun work() {
        val activity = open().get()
        engine.script(*Array(40) { " a" })
        engine.pause()
        say(activity, "Letters")
        idle()
    }

    @Test
    fun workStartsTheService() {
        val activity = open().get()
        assertNull(shadowOf(app).nextStartedService)
        engine.pause()
        say(activity, "Hello")
        idle()
        assertEquals(GenerationService::class.java.name, shadowOf(app).nextStartedService.component?.className)
    }

    @Test
    fun theNotificationIsThereWhileThereIsWork() {
        work()
        val service = Robolectric.buildService(GenerationService::class.java).create().startCommand(0, 1)
        val shadow = shadowOf(service.get())
        val notification = shadow.lastForegroundNotification
        assertEquals("demo", notification.extras.getString(Notification.EXTRA_TITLE))
        assertEquals("Loading demo…", notification.extras.getString(Notification.EXTRA_TEXT))
        assertEquals(listOf("Stop"), notification.actions.map { it.title.toString() })
        assertNotNull("a tap opens the app", notification.contentIntent)
        assertFalse(shadow.isStoppedBySelf)
        engine.resume()
        waitUntil("the end") { !app.models.busy }
        idle()
        assertTrue(shadow.isStoppedBySelf)
        assertTrue(shadow.isForegroundStopped)
        service.destroy()
    }

    private fun wakeLock() = ShadowPowerManager.getLatestWakeLock()

    @Test
    fun theCpuStaysAwakeWhileThereIsWork() {
        work()
        assertNull(wakeLock())
        val service = Robolectric.buildService(GenerationService::class.java).create().startCommand(0, 1)
        assertTrue(wakeLock().isHeld)
        engine.resume()
        waitUntil("the end") { !app.models.busy }
        assertFalse(wakeLock().isHeld)
        service.destroy()
    }

    @Test
    fun theCpuMaySleepWhenTheSystemEndsTheService() {
        work()
        val service = Robolectric.buildService(GenerationService::class.java).create().startCommand(0, 1)
        service.get().onTimeout(1, 0)
        assertTrue("the engine is still in a call", app.models.busy)
        assertFalse(wakeLock().isHeld)
        service.startCommand(0, 2)
        assertTrue("started again before its end", wakeLock().isHeld)
        service.destroy()
        assertFalse(wakeLock().isHeld)
    }

    @Test
    fun stopOfTheNotificationStops() {
        work()
        val service = Robolectric.buildService(GenerationService::class.java).create().startCommand(0, 1)
        val stop = shadowOf(shadowOf(service.get()).lastForegroundNotification.actions[0].actionIntent).savedIntent
        assertEquals(GenerationService.ACTION_STOP, stop.action)
        service.get().onStartCommand(stop, 0, 2)
        engine.resume()
        waitUntil("the stop") { !app.models.busy }
        assertEquals(AnswerEnd.STOPPED, stored().messages[1].end)
        service.destroy()
    }

    @Test
    fun aStartThatComesTooLateEndsAtOnce() {
        val service = Robolectric.buildService(GenerationService::class.java, Intent()).create().startCommand(0, 1)
        val id = shadowOf(service.get()).lastForegroundNotificationId
        assertEquals("the system demands a notification all the same", GenerationService.NOTIFICATION, id)
        assertTrue(shadowOf(service.get()).isStoppedBySelf)
        assertFalse("nothing to stay awake for", wakeLock()?.isHeld ?: false)
        service.destroy()
    }

    @Test
    fun theChannelIsQuiet() {
        Robolectric.buildService(GenerationService::class.java).create().destroy()
        val notifications = app.getSystemService(NotificationManager::class.java)
        val channel = notifications.getNotificationChannel(GenerationService.CHANNEL)
        assertEquals(NotificationManager.IMPORTANCE_LOW, channel.importance)
    }
}
