package org.mlpexport.demo

import android.Manifest.permission.POST_NOTIFICATIONS
import android.app.Activity
import android.content.Context
import android.content.pm.PackageManager
import android.os.Build
import org.mlpexport.core.PromptException
import org.mlpexport.core.Role
import org.mlpexport.demo.BannerView.Banner

/** Chooses the one thing that a chat has to say above its input, the gravest first, and the ways on from it. */
class ChatBanners(private val activity: Activity, private val ways: Ways) {
    interface Ways {
        fun onShowBundle()

        fun onStopEditing()

        fun onDropOldest()

        fun onNewConversation()

        fun onEditLast()

        fun onAgain()

        fun onClose()

        fun onChanged()
    }

    private val preferences get() = activity.getSharedPreferences("chat", Context.MODE_PRIVATE)

    fun choose(moment: ChatMoment): Banner? {
        val failure = moment.failure
        val problem = moment.storeProblem
        return when {
            moment.bundle == null -> banner("missing", text(R.string.bundle_missing, moment.bundleName), error = true)
            problem != null ->
                banner("store", text(R.string.store_failed, problem.message.orEmpty()), error = true, close())
            moment.obstacle != null && !moment.answering ->
                banner("obstacle", moment.obstacle, error = true, action(R.string.obstacle_open, ways::onShowBundle))
            moment.editing ->
                banner("editing", text(R.string.editing), false, action(R.string.cancel, ways::onStopEditing))
            moment.answering -> notifications()
            moment.isFull -> full(moment)
            failure != null -> banner("failed", activity.sentence(failure), error = true, close(), wayOn(failure))
            moment.last?.role == Role.USER && !moment.busy ->
                banner("unanswered", text(R.string.unanswered), false, action(R.string.answer_now, ways::onAgain))
            else -> null
        }
    }

    private fun full(moment: ChatMoment): Banner {
        val failure = moment.failure
        val context = activity.number(moment.bundle?.manifest?.context ?: 0)
        val text = if (failure != null) activity.sentence(failure) else text(R.string.context_full, context)
        val way = when {
            moment.canDrop -> action(R.string.drop_oldest, ways::onDropOldest)
            failure != null -> action(R.string.edit_message, ways::onEditLast)
            else -> null
        }
        val new = action(R.string.new_conversation, ways::onNewConversation)
        return Banner("full", text, false, listOfNotNull(way, new))
    }

    /** A prompt that was refused would be refused again. */
    private fun wayOn(failure: Exception) =
        if (failure is PromptException) {
            action(R.string.edit_message, ways::onEditLast)
        } else {
            action(R.string.answer_again, ways::onAgain)
        }

    /** Asked once, and only while there is an answer to wait for. */
    private fun notifications(): Banner? {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU || preferences.getBoolean(ASKED, false)) return null
        if (activity.checkSelfPermission(POST_NOTIFICATIONS) == PackageManager.PERMISSION_GRANTED) return null
        val later = action(R.string.not_now) { wasAsked() }
        val allow = action(R.string.allow) {
            wasAsked()
            activity.requestPermissions(arrayOf(POST_NOTIFICATIONS), 0)
        }
        return banner("notifications", text(R.string.ask_notifications), false, later, allow)
    }

    private fun wasAsked() {
        preferences.edit().putBoolean(ASKED, true).apply()
        ways.onChanged()
    }

    private fun close() = action(R.string.close, ways::onClose)

    private fun action(label: Int, run: () -> Unit) = Banner.Action(label, run)

    private fun banner(id: String, text: String, error: Boolean, vararg actions: Banner.Action) =
        Banner(id, text, error, actions.toList())

    private fun text(id: Int, vararg values: Any) = activity.getString(id, *values)

    private companion object {
        const val ASKED = "asked for notifications"
    }
}
