package org.mlpexport.demo

import android.content.Context
import android.content.Intent
import android.os.Bundle
import android.text.format.DateUtils
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.BaseAdapter
import android.widget.Button
import android.widget.EditText
import android.widget.ListView
import android.widget.PopupMenu
import android.widget.TextView
import org.mlpexport.core.Conversation

/** All conversations, the newest first: open, search, rename, share, delete. */
class ConversationsActivity : Screen() {
    private val list by lazy { requireViewById<ListView>(R.id.list) }
    private val search by lazy { requireViewById<EditText>(R.id.search) }
    private val texts by lazy { ConversationTexts(this) }
    private val adapter = Adapter()
    private var question = 0

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        show(R.layout.activity_conversations)
        list.adapter = adapter
        list.emptyView = requireViewById(R.id.empty)
        list.setOnItemClickListener { _, _, position, _ ->
            val conversation = adapter.getItem(position)
            startActivity(ChatActivity.intent(this, conversation.bundle, conversation.id))
        }
        search.addTextChangedListener(afterChange { refresh() })
    }

    override fun onStart() {
        super.onStart()
        refresh()
    }

    /** Reads away from the main thread; only the newest question's answer is shown. */
    private fun refresh() {
        val asked = ++question
        val text = search.text.toString()
        app.background.execute {
            val found = if (text.isBlank()) app.conversations.list() else app.conversations.search(text)
            val bundle = intent.getStringExtra(EXTRA_BUNDLE) ?: found.firstOrNull()?.bundle
            val usable = bundle?.takeIf { app.bundles.find(it) != null }
            mainExecutor.execute { if (asked == question && !isDestroyed) show(found, text, usable) }
        }
    }

    private fun show(found: List<Conversation>, text: String, bundle: String?) {
        adapter.show(found)
        requireViewById<TextView>(R.id.empty_text).text =
            if (text.isBlank()) getString(R.string.no_conversations) else getString(R.string.nothing_found, text.trim())
        requireViewById<Button>(R.id.new_chat).apply {
            visibility = if (bundle == null) View.GONE else View.VISIBLE
            setOnClickListener { startActivity(ChatActivity.intent(context, bundle.orEmpty())) }
        }
    }

    private fun showMenu(anchor: View, conversation: Conversation) {
        val menu = PopupMenu(this, anchor)
        menu.inflate(R.menu.conversation)
        menu.setOnMenuItemClickListener { item ->
            when (item.itemId) {
                R.id.rename -> renameDialog(conversation, ::refresh)
                R.id.share -> share(conversation, texts.export(conversation))
                R.id.delete -> deleteDialog(conversation, ::refresh)
            }
            true
        }
        menu.show()
    }

    private inner class Adapter : BaseAdapter() {
        private var conversations = emptyList<Conversation>()

        fun show(conversations: List<Conversation>) {
            this.conversations = conversations
            notifyDataSetChanged()
        }

        override fun getCount() = conversations.size

        override fun getItem(position: Int) = conversations[position]

        override fun getItemId(position: Int) = conversations[position].created

        override fun getView(position: Int, old: View?, parent: ViewGroup): View {
            val view = old ?: LayoutInflater.from(parent.context).inflate(R.layout.item_conversation, parent, false)
            val conversation = conversations[position]
            view.requireViewById<TextView>(R.id.title).text = conversation.title
            val last = conversation.messages.lastOrNull { it.text.isNotBlank() }?.text.orEmpty()
            view.requireViewById<TextView>(R.id.snippet).text = last.take(SNIPPET).replace('\n', ' ')
            view.requireViewById<TextView>(R.id.about).text = getString(
                R.string.conversation_about,
                conversation.bundle,
                DateUtils.getRelativeTimeSpanString(conversation.changed),
            )
            view.requireViewById<View>(R.id.more).apply {
                contentDescription = getString(R.string.actions_of, conversation.title)
                setOnClickListener { showMenu(it, conversation) }
            }
            return view
        }
    }

    companion object {
        private const val EXTRA_BUNDLE = "bundle"
        private const val SNIPPET = 200

        /** [bundle]: what a new conversation is to be with; null: the newest one's. */
        fun intent(context: Context, bundle: String? = null): Intent =
            Intent(context, ConversationsActivity::class.java).putExtra(EXTRA_BUNDLE, bundle)
    }
}
